"""The script that Streamlit runs: the list of pages and their common style."""

import streamlit as st

from fwplab.app import automaton, ladder, language, reader, runs


def main() -> None:
    """Shows the selected page."""
    st.set_page_config(page_title="fwplab", layout="wide")
    pages = {
        "ladder": st.Page(ladder.page, title="Ladder", url_path="ladder", default=True),
        "runs": st.Page(runs.page, title="Runs", url_path="runs"),
        "reader": st.Page(reader.page, title="Reader", url_path="reader"),
        "automaton": st.Page(automaton.page, title="Automaton", url_path="automaton"),
        "language": st.Page(language.page, title="Try a language", url_path="language"),
    }
    st.session_state["pages"] = pages
    st.html("<style>.block-container { padding-top: 4rem; } h1 { padding: 0 0 .5rem; }</style>")
    st.navigation(list(pages.values()), position="top").run()


if __name__ == "__main__":  # worker processes of a training import this file under another name
    main()

"""From a trained model to the machine that it is: learned from its answers, or read off its states."""

// Runs independent tasks on a given number of threads. Each thread has a workspace, which is reused by later calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>
#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <unistd.h>
#endif

namespace fwplab {

// A bump allocator: memory is allocated in order and freed all at once. It keeps its blocks, so that the next call need not allocate.
class Workspace {
   public:
    template <class V>
    V* take(std::size_t count) {
        const std::size_t bytes = (count * sizeof(V) + alignment - 1) / alignment * alignment;
        if (blocks.empty() || used + bytes > blocks.back().size) grow(bytes);
        V* start = reinterpret_cast<V*>(blocks.back().start.get() + used);
        used += bytes;
        return start;
    }

    template <class V>
    V* take_zeros(std::size_t count) {
        V* start = take<V>(count);
        for (std::size_t i = 0; i < count; i++) start[i] = V{};
        return start;
    }

    // Frees everything. Several blocks are replaced by one of their total size.
    void reset() {
        used = 0;
        if (blocks.size() < 2) return;
        std::size_t total = 0;
        for (const Block& block : blocks) total += block.size;
        blocks.clear();
        grow(total);
        used = 0;
    }

   private:
    static constexpr std::size_t alignment = 64;
    struct Free {
        void operator()(char* p) const { std::free(p); }
    };
    struct Block {
        std::unique_ptr<char, Free> start;
        std::size_t size;
    };
    std::vector<Block> blocks;
    std::size_t used = 0;

    void grow(std::size_t bytes) {
        const std::size_t size = bytes < 65536 ? 65536 : bytes;
        void* start = std::aligned_alloc(alignment, size);
        if (!start) throw std::bad_alloc();
        blocks.push_back({std::unique_ptr<char, Free>(static_cast<char*>(start)), size});
        used = 0;
    }
};

// The workspaces that are free for the next call.
class WorkspacePool {
   public:
    std::unique_ptr<Workspace> borrow() {
        std::lock_guard<std::mutex> guard(lock);
        if (waiting.empty()) return std::make_unique<Workspace>();
        auto workspace = std::move(waiting.back());
        waiting.pop_back();
        return workspace;
    }

    void give_back(std::unique_ptr<Workspace> workspace) {
        std::lock_guard<std::mutex> guard(lock);
        waiting.push_back(std::move(workspace));
    }

   private:
    std::mutex lock;
    std::vector<std::unique_ptr<Workspace>> waiting;
};

inline WorkspacePool& workspace_pool() {
    static WorkspacePool pool;
    return pool;
}

// The entry point of PyTorch's OpenMP threads, if the process has them. After each parallel operation of PyTorch they spin for some
// milliseconds. Own threads would compete with them for the cores, while they can start at once. A forked process does not have these
// threads and would wait for them for ever.
using OpenMP = void (*)(void (*work)(void*), void* data, unsigned threads, unsigned flags);
inline OpenMP open_mp() {
#if defined(__unix__) || defined(__APPLE__)
    static const OpenMP entry = reinterpret_cast<OpenMP>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
    static const pid_t found_by = getpid();
    return found_by == getpid() ? entry : nullptr;
#else
    return nullptr;
#endif
}

// Runs work() on at most `threads` threads, including the caller's.
template <class Work>
void on_threads(std::int64_t threads, Work& work) {
    if (threads > 1 && open_mp()) return open_mp()([](void* data) { (*static_cast<Work*>(data))(); }, &work, unsigned(threads), 0);
    std::vector<std::thread> helpers;
    try {
        for (std::int64_t i = 1; i < threads; i++) helpers.emplace_back([&work] { work(); });
    } catch (const std::system_error&) {
        // The system cannot start more threads. Those that run (at least the caller's) do all the work.
    }
    work();
    for (std::thread& helper : helpers) helper.join();
}

// Runs task(index, workspace) for every index below `tasks`. Any thread may run any task, so that its result must depend only on the
// index.
template <class F>
void parallel(std::int64_t tasks, std::int64_t threads, F&& task) {
    std::atomic<std::int64_t> next{0};
    std::atomic<bool> out_of_memory{false};
    auto work = [&] {
        try {
            auto workspace = workspace_pool().borrow();
            for (std::int64_t index; (index = next.fetch_add(1)) < tasks;) {
                workspace->reset();
                task(index, *workspace);
            }
            workspace_pool().give_back(std::move(workspace));
        } catch (const std::bad_alloc&) {
            out_of_memory = true;
        }
    };
    on_threads(threads < tasks ? threads : tasks, work);
    if (out_of_memory) throw std::bad_alloc();
}

}  // namespace fwplab

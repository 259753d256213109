#pragma once
// Writes a batch's vectors while the next one computes.

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/positioned_file.hpp"
#include "embed/output.hpp"
#include "embed/share.hpp"

namespace protalbert {

/// The vectors of one batch on the host, proteins in the batch's order.
struct BatchVectors {
    std::uint64_t number = 0;         ///< in the plan
    std::span<const WorkItem> items;  ///< [S]
    std::vector<std::byte> residues;  ///< [sum of lengths, H] float16 or float32
    std::vector<float> mean;          ///< [S, H]
    std::vector<float> cls;           ///< [S, H]
};

class VectorWriter {
  public:
    VectorWriter(const OutputFile& output, const VectorChoice& choice, std::uint64_t hidden);
    /// Waits for what was submitted, without regard to its errors.
    ~VectorWriter();
    VectorWriter(const VectorWriter&) = delete;
    VectorWriter& operator=(const VectorWriter&) = delete;

    /// A buffer to fill: one of two; waits while both are on their way. Throws what went wrong in the thread.
    BatchVectors& buffer();
    /// Hands the buffer over.
    void submit();
    /// Waits until everything submitted is on disk and marked as done. Throws what went wrong.
    void finish();

  private:
    void run();
    void write(const BatchVectors& vectors);
    void mark_done();
    void throw_failure();

    const OutputFile& output_;
    VectorChoice choice_;
    std::uint64_t hidden_;
    PositionedFile file_;
    /// Batches written but not known to be on disk, with their progress entries.
    struct Mark {
        std::uint64_t batch;
        ProgressEntry entry;
    };
    std::vector<Mark> marks_;

    BatchVectors buffers_[2];
    std::uint64_t submitted_ = 0, written_ = 0;  ///< batches so far; buffer k % 2 belongs to batch k
    bool ending_ = false;
    bool finished_ = false;
    std::exception_ptr failure_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::thread thread_;
};

}  // namespace protalbert

#include "embed/writer.hpp"

#include <chrono>

#include "embed/not_finite.hpp"

namespace protalbert {
namespace {

// A batch counts as done once it is on disk. Waiting for the disk once a second costs little, and a job that is killed
// loses little.
constexpr std::chrono::seconds sync_interval{1};

}  // namespace

VectorWriter::VectorWriter(const OutputFile& output, const VectorChoice& choice, std::uint64_t hidden)
    : output_(output), choice_(choice), hidden_(hidden), file_(output.part_path, true), thread_([this] { run(); }) {}

VectorWriter::~VectorWriter() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void VectorWriter::throw_failure() {
    if (failure_) std::rethrow_exception(failure_);
}

BatchVectors& VectorWriter::buffer() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return failure_ || submitted_ < written_ + 2; });
    throw_failure();
    return buffers_[submitted_ % 2];
}

void VectorWriter::submit() {
    {
        const std::lock_guard lock(mutex_);
        ++submitted_;
    }
    changed_.notify_all();
}

void VectorWriter::finish() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_all();
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return failure_ || finished_; });
    throw_failure();
}

void VectorWriter::run() {
    try {
        auto synced = std::chrono::steady_clock::now();
        std::unique_lock lock(mutex_);
        while (true) {
            changed_.wait_for(lock, sync_interval, [this] { return ending_ || submitted_ > written_; });
            if (submitted_ > written_) {
                const BatchVectors& vectors = buffers_[written_ % 2];
                lock.unlock();
                write(vectors);
                lock.lock();
                ++written_;
                changed_.notify_all();
            } else if (ending_) {
                break;
            }
            if (!marks_.empty() && std::chrono::steady_clock::now() - synced >= sync_interval) {
                lock.unlock();
                mark_done();
                lock.lock();
                synced = std::chrono::steady_clock::now();
            }
        }
        lock.unlock();
        mark_done();
        file_.sync();
        lock.lock();
        finished_ = true;
    } catch (...) {
        const std::lock_guard lock(mutex_);
        failure_ = std::current_exception();
    }
    changed_.notify_all();
}

void VectorWriter::write(const BatchVectors& vectors) {
    const std::uint64_t pooled_row = hidden_ * sizeof(float);
    const std::uint64_t residue_row = hidden_ * choice_.residue_bytes();
    const bool flat = choice_.layout == Layout::flat;
    std::uint64_t row = 0, not_finite = 0;
    const auto count = [&](const void* values, std::uint64_t n, std::uint64_t element_bytes) {
        not_finite += count_not_finite(static_cast<const std::byte*>(values), n, element_bytes);
    };
    for (std::size_t s = 0; s < vectors.items.size(); ++s) {
        const WorkItem& item = vectors.items[s];
        const std::uint64_t mean_row = output_.mean + item.protein * pooled_row;
        const std::uint64_t cls_row = output_.cls + item.protein * pooled_row;
        if (choice_.residues != ResidueVectors::none) {
            const std::uint64_t position =
                flat ? output_.residues + item.first_row * residue_row : output_.proteins[item.protein];
            file_.write(vectors.residues.data() + row * residue_row, item.length * residue_row, position);
            count(vectors.residues.data() + row * residue_row, item.length * hidden_, choice_.residue_bytes());
        }
        const bool pooled = flat || choice_.residues == ResidueVectors::none;
        if (pooled && choice_.mean) {
            file_.write(&vectors.mean[s * hidden_], pooled_row, flat ? mean_row : output_.proteins[item.protein]);
            count(&vectors.mean[s * hidden_], hidden_, sizeof(float));
        }
        if (pooled && choice_.cls) {
            file_.write(&vectors.cls[s * hidden_], pooled_row, flat ? cls_row : output_.proteins[item.protein]);
            count(&vectors.cls[s * hidden_], hidden_, sizeof(float));
        }
        if (flat) {
            VectorChecksums checksums;
            if (choice_.residues != ResidueVectors::none)
                checksums.residues = vector_checksum(item.protein, vectors.residues.data() + row * residue_row,
                                                     item.length * residue_row);
            if (choice_.mean) checksums.mean = vector_checksum(item.protein, &vectors.mean[s * hidden_], pooled_row);
            if (choice_.cls) checksums.cls = vector_checksum(item.protein, &vectors.cls[s * hidden_], pooled_row);
            file_.write(&checksums, sizeof checksums, output_.checksums + item.protein * sizeof checksums);
        }
        row += item.length;
    }
    marks_.push_back({vectors.number, progress_entry(vectors.number, 1 + not_finite)});
}

void VectorWriter::mark_done() {
    if (marks_.empty()) return;
    file_.sync();
    for (const Mark& mark : marks_)
        file_.write(&mark.entry, sizeof mark.entry, output_.progress + mark.batch * sizeof mark.entry);
    marks_.clear();
}

}  // namespace protalbert

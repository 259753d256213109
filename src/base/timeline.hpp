#pragma once
// What a process did when: spans in lanes, recorded on request, as events of Chrome's trace format (JSON; read by
// chrome://tracing and ui.perfetto.dev). Off, a span costs one load.

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

namespace protalbert {

/// The rows of a process in the viewer.
enum class Lane { compute, reduction, data, io };

namespace timeline {

using Clock = std::chrono::steady_clock;

/// Begins recording; times count from now. All ranks call it behind one barrier, so that their clocks agree.
void start();
/// Ends recording and forgets what was recorded.
void stop();
bool is_on();
/// Adds a span that ends now. Any thread; nothing when off. `name` has no quotes, backslashes or control characters.
void record(Lane lane, std::string name, Clock::time_point begin);
/// The spans so far as a comma-separated list of JSON objects, for a file {"traceEvents": [ ... ]}. The rank is the
/// process, its `name` is shown. Spans that overlap without lying within each other get rows of their own in the lane.
std::string events(int rank, const std::string& name);

}  // namespace timeline

/// Records its own lifetime. `name` must outlive it.
class Span {
  public:
    Span(Lane lane, const char* name) : lane_(lane), name_(timeline::is_on() ? name : nullptr) {
        if (name_ != nullptr) begin_ = timeline::Clock::now();
    }
    ~Span() {
        if (name_ != nullptr) timeline::record(lane_, name_, begin_);
    }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;

  private:
    Lane lane_;
    const char* name_;
    timeline::Clock::time_point begin_;
};

}  // namespace protalbert

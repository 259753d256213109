#include "base/timeline.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <mutex>

namespace protalbert::timeline {

namespace {

struct Event {
    Lane lane;
    std::string name;
    double begin, end;  // microseconds, the format's unit
};

constexpr std::array<const char*, 4> lane_names = {"compute", "reduction", "data", "I/O"};
/// A lane's rows are numbered from its own multiple of this; more spans than that never overlap each other.
constexpr int rows_per_lane = 100;

std::atomic<bool> on{false};
std::mutex mutex;  // guards what follows
std::vector<Event> recorded;
Clock::time_point origin;

double microseconds(Clock::time_point time) { return std::chrono::duration<double, std::micro>(time - origin).count(); }

/// The rows of one lane. A row shows spans that follow each other or lie within each other.
class Rows {
  public:
    int row_for(const Event& event) {
        for (std::size_t row = 0;; ++row) {
            if (row == open_.size()) open_.emplace_back();
            std::vector<double>& ends = open_[row];
            while (!ends.empty() && ends.back() <= event.begin) ends.pop_back();
            if (!ends.empty() && ends.back() < event.end) continue;
            ends.push_back(event.end);
            return static_cast<int>(row);
        }
    }
    int count() const { return static_cast<int>(open_.size()); }

  private:
    std::vector<std::vector<double>> open_;  // of each row the ends of spans that have begun, innermost last
};

}  // namespace

bool is_on() { return on.load(std::memory_order_relaxed); }

void start() {
    const std::lock_guard lock(mutex);
    recorded.clear();
    origin = Clock::now();
    on = true;
}

void stop() {
    const std::lock_guard lock(mutex);
    on = false;
    recorded = {};
}

void record(Lane lane, std::string name, Clock::time_point begin) {
    if (!is_on()) return;
    const auto end = Clock::now();
    const std::lock_guard lock(mutex);
    // A span that began before the recording did is shown from there.
    if (is_on()) recorded.push_back({lane, std::move(name), std::max(0.0, microseconds(begin)), microseconds(end)});
}

std::string events(int rank, const std::string& name) {
    std::vector<Event> sorted;
    {
        const std::lock_guard lock(mutex);
        sorted = recorded;
    }
    std::stable_sort(sorted.begin(), sorted.end(), [](const Event& left, const Event& right) {
        return left.begin != right.begin ? left.begin < right.begin : left.end > right.end;
    });
    std::string text = fmt::format(R"({{"ph":"M","name":"process_name","pid":{},"args":{{"name":"{}"}}}})", rank, name);
    const auto out = std::back_inserter(text);
    std::array<Rows, lane_names.size()> rows;
    for (const Event& event : sorted) {
        const auto lane = static_cast<std::size_t>(event.lane);
        fmt::format_to(out,
                       ",\n"
                       R"({{"ph":"X","name":"{}","cat":"{}","pid":{},"tid":{},"ts":{:.3f},"dur":{:.3f}}})",
                       event.name, lane_names[lane], rank,
                       static_cast<int>(lane) * rows_per_lane + rows[lane].row_for(event), event.begin,
                       event.end - event.begin);
    }
    for (std::size_t lane = 0; lane < lane_names.size(); ++lane)
        for (int row = 0; row < rows[lane].count(); ++row)
            fmt::format_to(out,
                           ",\n"
                           R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"{}"}}}})",
                           rank, static_cast<int>(lane) * rows_per_lane + row, lane_names[lane]);
    return text;
}

}  // namespace protalbert::timeline

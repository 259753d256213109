#pragma once
// Test arrays on a device: surrounded by guard bytes that nobody may write, inputs that nobody may change.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/backend.hpp"
#include "kernels/cuda/cuda_backend.hpp"
#include "tests/kernels/reference.hpp"

namespace protalbert {

using reference::Index;
using reference::Vector;

/// The backend under test: PROTALBERT_TEST_DEVICE (cpu), PROTALBERT_TEST_PRECISION (float32).
inline std::unique_ptr<Backend> test_backend(int threads = 2) {
    const char* device = std::getenv("PROTALBERT_TEST_DEVICE");
    const char* precision = std::getenv("PROTALBERT_TEST_PRECISION");
    const bool bfloat16 = precision != nullptr && std::string(precision) == "bfloat16";
    if (device != nullptr && std::string(device) == "cuda" && cuda_devices().count == 0) {
        std::printf("skipped: %s\n", cuda_devices().none.c_str());
        std::exit(77);  // what ctest is told to take for a skipped test
    }
    return make_backend(device != nullptr ? device : "cpu", bfloat16 ? Precision::bfloat16 : Precision::float32,
                        threads);
}

/// Whether test_backend() is a GPU, or an emulated one.
inline bool on_gpu() {
    const char* const device = std::getenv("PROTALBERT_TEST_DEVICE");
    return device != nullptr && std::string(device) == "cuda";
}

/// `single` where activations are float32, also of products of factors that are bfloat16 already; bfloat16 rounds at
/// 2^-9 where float32 rounds at 2^-24, so allow at least a few of its steps.
inline double tolerance(const Backend& backend, double single) {
    return backend.element_bytes() == sizeof(float) ? single : std::max(single, 2e-2);
}

inline float round_to_bfloat16(float x) {
    std::uint32_t bits = 0;
    std::memcpy(&bits, &x, 4);
    if (!std::isnan(x)) bits += 0x7fffU + ((bits >> 16) & 1U);
    bits &= 0xffff0000U;
    std::memcpy(&x, &bits, 4);
    return x;
}

/// `n` values, normally distributed with the given deviation, the same for the same seed.
inline Vector random_values(Index n, double deviation, unsigned seed) {
    std::mt19937_64 generator(seed);
    std::normal_distribution<double> normal(0, deviation);
    Vector values(static_cast<std::size_t>(n));
    for (double& value : values) value = static_cast<float>(normal(generator));
    return values;
}

inline std::vector<std::int32_t> random_ids(Index n, std::int32_t limit, unsigned seed) {
    std::mt19937_64 generator(seed);
    std::vector<std::int32_t> ids(static_cast<std::size_t>(n));
    for (std::int32_t& id : ids) id = static_cast<std::int32_t>(generator() % static_cast<std::uint64_t>(limit));
    return ids;
}

/// Device memory of n elements with guards on both sides, checked at the end of its life.
template <class T>
class Guarded {
  public:
    /// `parts`: values that make up one element of the backend's.
    Guarded(Backend& backend, const std::vector<T>& values, Index parts = 1)
        : backend_(backend),
          size_(values.size()),
          begin_(guard + shift() * static_cast<std::size_t>(parts)),
          memory_(static_cast<T*>(backend.allocate(bytes()))) {
        std::vector<T> all(begin_ + size_ + guard, sentinel());
        std::copy(values.begin(), values.end(), all.begin() + static_cast<Index>(begin_));
        backend_.upload(memory_, all.data(), bytes(), {});
        backend_.synchronize({});
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() {
        const std::vector<T> all = everything();
        const T expected = sentinel();
        for (std::size_t i = 0; i < all.size(); ++i) {
            if (i >= begin_ && i < begin_ + size_) continue;
            // Bytes, since a NaN must equal itself.
            if (std::memcmp(&all[i], &expected, sizeof(T)) != 0) {  // NOLINT(bugprone-suspicious-memory-comparison)
                ADD_FAILURE() << "guard overwritten at element " << static_cast<Index>(i) - static_cast<Index>(begin_)
                              << " of " << size_;
                break;
            }
        }
        backend_.free(memory_);
    }
    T* device() const { return memory_ + begin_; }
    std::size_t size() const { return size_; }
    std::vector<T> host() const {
        const std::vector<T> all = everything();
        const auto begin = all.begin() + static_cast<Index>(begin_);
        return {begin, begin + static_cast<Index>(size_)};
    }
    Backend& backend() const { return backend_; }

  private:
    static constexpr std::size_t guard = 256;
    /// PROTALBERT_TEST_SHIFT moves every array by so many elements: nothing may rely on its alignment.
    static std::size_t shift() {
        static const char* const text = std::getenv("PROTALBERT_TEST_SHIFT");
        return text != nullptr ? static_cast<std::size_t>(std::atoi(text)) : 0;
    }
    static T sentinel() {
        T value;
        std::memset(&value, 0xA5, sizeof(T));
        return value;
    }
    std::size_t bytes() const { return (begin_ + size_ + guard) * sizeof(T); }
    std::vector<T> everything() const {
        std::vector<T> all(begin_ + size_ + guard);
        backend_.synchronize({});
        backend_.download(all.data(), memory_, bytes(), {});
        backend_.synchronize({});
        return all;
    }

    Backend& backend_;
    std::size_t size_;
    std::size_t begin_;  ///< of the values among all
    T* memory_;
};

/// An input that must not change: ids, offsets, labels, float32 parameters.
template <class T>
class Input {
  public:
    Input(Backend& backend, std::vector<T> values) : values_(std::move(values)), memory_(backend, values_) {}
    ~Input() {
        const std::vector<T> now = memory_.host();
        EXPECT_TRUE(now.empty() || std::memcmp(now.data(), values_.data(), now.size() * sizeof(T)) == 0)
            << "an input was changed";
    }
    const T* device() const { return memory_.device(); }

  private:
    std::vector<T> values_;
    Guarded<T> memory_;
};

inline std::vector<float> to_floats(const Vector& values) { return {values.begin(), values.end()}; }

/// A float32 array from doubles.
inline Input<float> float_input(Backend& backend, const Vector& values) { return {backend, to_floats(values)}; }

/// The values as a tensor of the backend holds them: what a reference must see.
inline void round_to(const Backend& backend, Vector& values) {
    for (double& value : values) {
        value = static_cast<float>(value);
        if (backend.precision() == Precision::bfloat16) value = round_to_bfloat16(static_cast<float>(value));
    }
}

/// Activations in the backend's precision.
class Tensor {
  public:
    /// Rounds `values` to the backend's precision: the reference must see what the backend sees.
    Tensor(Backend& backend, Vector& values) : Tensor(backend, rounded(backend, values), true) {}
    /// An output of n elements, full of NaN: each must be written.
    Tensor(Backend& backend, Index n) : Tensor(backend, Vector(static_cast<std::size_t>(n), std::nan("")), false) {}
    ~Tensor() {
        if (constant_) {
            const std::vector<std::uint16_t> now = memory_.host();
            EXPECT_TRUE(now == before_) << "an input tensor was changed";
        }
    }
    /// The array may be changed from here on (in place operations, accumulation).
    Tensor& changeable() {
        constant_ = false;
        return *this;
    }
    Activations activations() const {
        return {reinterpret_cast<std::byte*>(memory_.device()), memory_.backend().element_bytes()};
    }
    Vector host() const {
        const std::vector<std::uint16_t> raw = memory_.host();
        Vector values;
        if (memory_.backend().element_bytes() == sizeof(float)) {
            std::vector<float> floats(raw.size() / 2);
            if (!raw.empty()) std::memcpy(floats.data(), raw.data(), raw.size() * 2);
            values.assign(floats.begin(), floats.end());
        } else {
            for (const std::uint16_t half : raw) {
                const std::uint32_t bits = static_cast<std::uint32_t>(half) << 16;
                float value = 0;
                std::memcpy(&value, &bits, 4);
                values.push_back(value);
            }
        }
        return values;
    }

  private:
    Tensor(Backend& backend, const Vector& values, bool constant)
        : memory_(backend, encoded(backend, values), backend.element_bytes() / 2),
          before_(memory_.host()),
          constant_(constant) {}
    static const Vector& rounded(const Backend& backend, Vector& values) {
        round_to(backend, values);
        return values;
    }
    static std::vector<std::uint16_t> encoded(const Backend& backend, const Vector& values) {
        std::vector<std::uint16_t> raw;
        for (const double value : values) {
            const auto x = static_cast<float>(value);
            std::uint32_t bits = 0;
            std::memcpy(&bits, &x, 4);
            if (backend.element_bytes() == sizeof(float)) raw.push_back(static_cast<std::uint16_t>(bits & 0xffffU));
            raw.push_back(static_cast<std::uint16_t>(bits >> 16));
        }
        return raw;
    }

    Guarded<std::uint16_t> memory_;
    std::vector<std::uint16_t> before_;
    bool constant_;
};

/// Offsets of a packed batch on host and device.
class Sequences {
  public:
    Sequences(Backend& backend, const std::vector<Index>& lengths) : host_(sums(lengths)), device_(backend, host_) {}
    PackedSequences packed() const {
        return {static_cast<Index>(host_.size()) - 1, host_.back(), device_.device(), host_.data()};
    }
    const std::vector<Index>& offsets() const { return host_; }

  private:
    static std::vector<Index> sums(const std::vector<Index>& lengths) {
        std::vector<Index> offsets{0};
        for (const Index length : lengths) offsets.push_back(offsets.back() + length);
        return offsets;
    }
    std::vector<Index> host_;
    Input<Index> device_;
};

template <class T>
Vector to_doubles(const std::vector<T>& values) {
    return {values.begin(), values.end()};
}

/// Each |got - want| <= tolerance (|want| + root mean square of want); NaN and infinity only where wanted.
inline void expect_close(const Vector& got, const Vector& want, double tolerance, const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    double squares = 0;
    std::size_t finite = 0;
    for (const double value : want) {
        if (!std::isfinite(value)) continue;
        squares += value * value;
        ++finite;
    }
    const double scale = finite > 0 ? std::sqrt(squares / static_cast<double>(finite)) : 0;
    double worst = -1;
    std::size_t where = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
        double error = 0;
        if (std::isfinite(want[i])) {
            error = std::isfinite(got[i]) ? std::fabs(got[i] - want[i]) : INFINITY;
            if (error > 0) error /= std::fabs(want[i]) + scale;
        } else if (std::isnan(want[i]) ? !std::isnan(got[i]) : got[i] != want[i]) {
            error = INFINITY;
        }
        if (error > worst) {
            worst = error;
            where = i;
        }
    }
    EXPECT_LE(worst, tolerance) << what << ": at " << where << " got " << got[where] << ", want " << want[where];
}

/// `run(backend)` returns bytes-comparable results; they must be the same with 1, 2, 3 and 5 threads.
template <class Run>
void expect_same_for_all_thread_counts(const Run& run) {
    const auto first = run(*test_backend(1));
    for (const int threads : {2, 3, 5}) {
        const auto other = run(*test_backend(threads));
        ASSERT_EQ(first.size(), other.size());
        EXPECT_EQ(std::memcmp(first.data(), other.data(), first.size() * sizeof(first[0])), 0)
            << "differs with " << threads << " threads";
    }
}

}  // namespace protalbert

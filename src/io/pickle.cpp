#include "io/pickle.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include "base/error.hpp"
#include "io/input_file.hpp"

namespace protalbert {

namespace {

using Kind = PickleValue::Kind;

// A tensor takes some forty; ALBERT has dozens of tensors.
constexpr std::size_t most_opcodes = 1 << 20;
// Names of modules, classes and functions are short.
constexpr std::size_t most_name_bytes = 256;

constexpr std::string_view ordered_dict = "collections.OrderedDict";
constexpr std::string_view rebuild_tensor = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view rebuild_parameter = "torch._utils._rebuild_parameter";
constexpr std::string_view size = "torch.Size";

constexpr std::array known_names{ordered_dict, rebuild_tensor, rebuild_parameter,
                                 std::string_view("torch.FloatStorage"), std::string_view("torch.HalfStorage"),
                                 std::string_view("torch.BFloat16Storage"), std::string_view("torch.DoubleStorage"),
                                 std::string_view("torch.LongStorage"), std::string_view("torch.IntStorage"),
                                 std::string_view("torch.ShortStorage"), std::string_view("torch.CharStorage"),
                                 std::string_view("torch.ByteStorage"), std::string_view("torch.BoolStorage"),
                                 // In training checkpoints, beside the model.
                                 size, std::string_view("torch.float32"), std::string_view("torch.float16"),
                                 std::string_view("torch.bfloat16"), std::string_view("torch.float64")};

/// The stack machine that a pickle is a program for.
class Interpreter {
  public:
    Interpreter(std::string_view bytes, const std::string& origin) : bytes_(bytes), origin_(origin) {}

    Pickle run() {
        while (!done_) {
            if (++opcodes_ > most_opcodes) throw refuse("it has more than a million opcodes");
            step(static_cast<unsigned char>(take(1)[0]));
        }
        pickle_.length = next_;
        return std::move(pickle_);
    }

  private:
    InputError refuse(const std::string& why) const {
        return InputError(fmt::format("{}: byte {} of its pickle: {}; it is damaged or no state dict, and is not read",
                                      origin_, next_, why));
    }

    std::string_view take(std::size_t count) {
        if (count > bytes_.size() - next_) throw refuse("the pickle is truncated");
        const std::string_view taken = bytes_.substr(next_, count);
        next_ += count;
        return taken;
    }
    std::uint64_t take_number(int count) { return little_endian(take(static_cast<std::size_t>(count)).data(), count); }
    std::string take_line() {
        const std::size_t end = bytes_.substr(next_, most_name_bytes).find('\n');
        if (end == std::string_view::npos) throw refuse("a name does not end");
        std::string line(take(end));
        take(1);
        return line;
    }

    // The stack, of indices into the values; marks are heights of it.
    void push(PickleValue value) {
        pickle_.values.push_back(std::move(value));
        stack_.push_back(static_cast<std::uint32_t>(pickle_.values.size() - 1));
    }
    std::size_t floor() const { return marks_.empty() ? 0 : marks_.back(); }
    std::uint32_t pop() {
        if (stack_.size() <= floor()) throw refuse("it takes more from its stack than is there");
        const std::uint32_t index = stack_.back();
        stack_.pop_back();
        return index;
    }
    std::vector<std::uint32_t> pop(std::size_t count) {
        if (stack_.size() - floor() < count) throw refuse("it takes more from its stack than is there");
        std::vector<std::uint32_t> items(stack_.end() - static_cast<std::ptrdiff_t>(count), stack_.end());
        stack_.resize(stack_.size() - count);
        return items;
    }
    std::vector<std::uint32_t> pop_to_mark() {
        if (marks_.empty()) throw refuse("it refers to a mark that is not there");
        std::vector<std::uint32_t> items = pop(stack_.size() - marks_.back());
        marks_.pop_back();
        return items;
    }
    PickleValue& value(std::uint32_t index) { return pickle_.values[index]; }
    /// The object below what was popped, which must be of `kind`.
    PickleValue& target(Kind kind) {
        if (stack_.size() <= floor() || value(stack_.back()).kind != kind)
            throw refuse("it changes an object of an unexpected kind");
        return value(stack_.back());
    }

    void push_text(std::size_t length) { push({Kind::text, 0, std::string(take(length))}); }
    void push_items(Kind kind, std::vector<std::uint32_t> items) { push({kind, 0, {}, std::move(items)}); }
    void push_integer(std::int64_t integer) { push({Kind::integer, integer, {}}); }

    void push_long() {
        const std::string_view digits = take(take_number(1));
        if (digits.size() > 8) return push({Kind::large, 0, std::string(digits)});
        std::uint64_t number = little_endian(digits.data(), static_cast<int>(digits.size()));
        // Two's complement of as many bytes as there are.
        if (!digits.empty() && digits.size() < 8 && (digits.back() & 0x80) != 0)
            number |= ~std::uint64_t{0} << 8 * digits.size();
        push_integer(static_cast<std::int64_t>(number));
    }

    void push_name() {
        const std::string module = take_line();
        const std::string name = module + "." + take_line();
        if (std::find(known_names.begin(), known_names.end(), name) == known_names.end())
            throw InputError(fmt::format(
                "{}: its pickle asks for {}, which a state dict of tensors does not need; nothing in it was "
                "executed, and it is not read. Of a model that you trust, save the tensors alone: "
                "torch.save(model.state_dict(), FILE); of a training checkpoint, the model's part: "
                "torch.save(torch.load(OLD, weights_only=False)[KEY], FILE)",
                origin_, name));
        push({Kind::name, 0, name});
    }

    void remember(std::uint64_t key) {
        if (stack_.size() <= floor()) throw refuse("it remembers an object that is not there");
        memo_[key] = stack_.back();
    }
    void recall(std::uint64_t key) {
        const auto found = memo_.find(key);
        if (found == memo_.end()) throw refuse("it recalls an object that is not there");
        stack_.push_back(found->second);
    }

    void set_items(const std::vector<std::uint32_t>& items) {
        PickleValue& dict = target(Kind::dict);
        if (items.size() % 2 != 0) throw refuse("a key without a value");
        for (std::size_t i = 0; i < items.size(); i += 2) {
            const Kind key = value(items[i]).kind;
            if (key != Kind::text && key != Kind::integer) throw refuse("a key that is neither text nor a number");
        }
        dict.items.insert(dict.items.end(), items.begin(), items.end());
    }
    void append_items(const std::vector<std::uint32_t>& items) {
        PickleValue& list = target(Kind::list);
        list.items.insert(list.items.end(), items.begin(), items.end());
    }

    /// What Python would make by calling a known name with a tuple of arguments.
    void reduce() {
        const std::vector<std::uint32_t> call = pop(2);
        const PickleValue& name = value(call[0]);
        const PickleValue& arguments = value(call[1]);
        if (name.kind != Kind::name || arguments.kind != Kind::tuple) throw refuse("it calls what is no known name");
        if (name.text == ordered_dict && arguments.items.empty()) return push_items(Kind::dict, {});
        if (name.text == rebuild_tensor && (arguments.items.size() == 6 || arguments.items.size() == 7))
            return push_items(Kind::tensor, arguments.items);
        if (name.text == rebuild_parameter && arguments.items.size() == 3 &&
            value(arguments.items[0]).kind == Kind::tensor)
            return stack_.push_back(arguments.items[0]);
        if (name.text == size && arguments.items.size() == 1 && value(arguments.items[0]).kind == Kind::tuple)
            return stack_.push_back(arguments.items[0]);
        throw refuse(fmt::format("it calls {} with unexpected arguments", name.text));
    }

    void persistent_object() {
        const std::uint32_t index = pop();
        // A mark, type, key, place and number of elements; in the older layout also the part of them that is meant.
        const PickleValue& reference = value(index);
        if (reference.kind != Kind::tuple || reference.items.size() < 5 || reference.items.size() > 6)
            throw refuse("a reference to elements that is none");
        push_items(Kind::storage, value(index).items);
    }

    /// A dict's attributes: a state dict's `_metadata` with the versions of modules, which nothing here needs.
    void build() {
        pop();
        target(Kind::dict);
    }

    void step(unsigned char opcode) {
        switch (opcode) {
            case 0x80:  // PROTO
                if (take_number(1) > 2) throw refuse("a protocol of pickle above 2; torch.save writes 2 by itself");
                return;
            case '.':  // STOP
                pickle_.top = pop();
                done_ = true;
                return;
            case '(':  // MARK
                return marks_.push_back(stack_.size());
            case 'N':  // NONE
                return push({});
            case 0x88:  // NEWTRUE
                return push({Kind::boolean, 1, {}});
            case 0x89:  // NEWFALSE
                return push({Kind::boolean, 0, {}});
            case 'J':  // BININT
                return push_integer(static_cast<std::int32_t>(take_number(4)));
            case 'K':  // BININT1
                return push_integer(static_cast<std::int64_t>(take_number(1)));
            case 'M':  // BININT2
                return push_integer(static_cast<std::int64_t>(take_number(2)));
            case 0x8a:  // LONG1
                return push_long();
            case 'G':  // BINFLOAT
                take(8);
                return push({Kind::number, 0, {}});
            case 'X':  // BINUNICODE
            case 'T':  // BINSTRING
                return push_text(take_number(4));
            case 'U':  // SHORT_BINSTRING
                return push_text(take_number(1));
            case '}':  // EMPTY_DICT
                return push_items(Kind::dict, {});
            case ']':  // EMPTY_LIST
                return push_items(Kind::list, {});
            case ')':  // EMPTY_TUPLE
                return push_items(Kind::tuple, {});
            case 0x85:  // TUPLE1
            case 0x86:
            case 0x87:  // TUPLE3
                return push_items(Kind::tuple, pop(opcode - 0x84U));
            case 't':  // TUPLE
                return push_items(Kind::tuple, pop_to_mark());
            case 'a':  // APPEND
                return append_items(pop(1));
            case 'e':  // APPENDS
                return append_items(pop_to_mark());
            case 's':  // SETITEM
                return set_items(pop(2));
            case 'u':  // SETITEMS
                return set_items(pop_to_mark());
            case 'q':  // BINPUT
                return remember(take_number(1));
            case 'r':  // LONG_BINPUT
                return remember(take_number(4));
            case 'h':  // BINGET
                return recall(take_number(1));
            case 'j':  // LONG_BINGET
                return recall(take_number(4));
            case 'c':  // GLOBAL
                return push_name();
            case 'Q':  // BINPERSID
                return persistent_object();
            case 'R':  // REDUCE
                return reduce();
            case 'b':  // BUILD
                return build();
            default:
                throw refuse(fmt::format("the opcode 0x{:02x}, which a state dict of tensors does not need", opcode));
        }
    }

    std::string_view bytes_;
    const std::string& origin_;
    std::size_t next_ = 0;
    std::size_t opcodes_ = 0;
    bool done_ = false;
    Pickle pickle_;
    std::vector<std::uint32_t> stack_;
    std::vector<std::size_t> marks_;
    std::unordered_map<std::uint64_t, std::uint32_t> memo_;
};

}  // namespace

Pickle read_pickle(std::string_view bytes, const std::string& origin) { return Interpreter(bytes, origin).run(); }

}  // namespace protalbert

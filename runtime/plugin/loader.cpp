#include "runtime/plugin/loader.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <set>
#include <utility>

#include "runtime/base/quantity.h"

namespace umbel::rt {
namespace {

using Check = std::expected<void, std::string>;  // The error: cause and remedy.

#if defined(__x86_64__)
constexpr Elf64_Half our_machine = EM_X86_64;
#elif defined(__aarch64__)
constexpr Elf64_Half our_machine = EM_AARCH64;
#else
#error "Umbel runs on x86_64 and aarch64."
#endif

constexpr std::size_t load_error_size = 1024;  // What a plugin's load may write as its error.

// Sizes in the first header of ABI version 1. They never change while UMBEL_ABI_VERSION is 1.
constexpr std::uint32_t first_descriptor_size = 104;
constexpr std::uint32_t first_host_size = 184;
constexpr std::uint32_t first_actor_type_size = 64;
constexpr std::uint32_t first_setting_size = 48;
static_assert(UMBEL_ABI_VERSION == 1, "a new ABI version has first sizes of its own");
static_assert(first_descriptor_size <= sizeof(umbel_plugin) && first_host_size <= sizeof(umbel_host) &&
                  first_actor_type_size <= sizeof(umbel_actor_type) && first_setting_size <= sizeof(umbel_setting),
              "structures grow at their end");

// The part of a descriptor that has its place in every ABI version: who made it, and for which version.
constexpr std::size_t identity_size = offsetof(umbel_plugin, host_size);

std::unexpected<std::string> flaw(std::string text) { return std::unexpected(std::move(text)); }

std::string hexadecimal(std::uint64_t number) {
    std::array<char, 19> text{};
    std::snprintf(text.data(), text.size(), "0x%016llx", static_cast<unsigned long long>(number));
    return text.data();
}

// ---- The file ------------------------------------------------------------------------------------------------------

class File {
public:
    explicit File(const std::string& path) : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    ~File() {
        if (fd_ >= 0) ::close(fd_);
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;

    [[nodiscard]] int fd() const { return fd_; }

    /// Fills `object` from `offset`; false if the file ends before.
    template <class Object>
    [[nodiscard]] bool read(std::uint64_t offset, Object& object) const {
        auto* const bytes = reinterpret_cast<char*>(&object);
        for (std::size_t done = 0; done < sizeof object;) {
            const ssize_t count = ::pread(fd_, bytes + done, sizeof object - done, static_cast<off_t>(offset + done));
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0) return false;
            done += static_cast<std::size_t>(count);
        }
        return true;
    }

private:
    int fd_;
};

// Whether `count` bytes at `offset` lie in `size` bytes.
constexpr bool lies_inside(std::uint64_t offset, std::uint64_t count, std::uint64_t size) {
    return offset <= size && count <= size - offset;
}

constexpr const char* truncated =
    "is truncated: its headers describe more bytes than it has (copy it again, or build it again)";
constexpr const char* damaged = "is damaged: its ELF header contradicts itself (copy it again, or build it again)";

Check check_kind(const Elf64_Ehdr& header) {
    if (header.e_ident[EI_CLASS] != ELFCLASS64) return flaw("is a 32-bit library (build it for 64 bits)");
    if (header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != our_machine) {
        return flaw("is built for another machine, ELF machine " + std::to_string(header.e_machine) + ", this is " +
                    std::to_string(our_machine) + " (build it for this machine)");
    }
    if (header.e_ident[EI_VERSION] != EV_CURRENT || header.e_version != EV_CURRENT) return flaw(damaged);
    if (header.e_type != ET_DYN) {
        return flaw("is an ELF file but not a shared library, ELF type " + std::to_string(header.e_type) +
                    " (link it with -shared)");
    }
    return {};
}

Check check_segments(const File& file, const Elf64_Ehdr& header, std::uint64_t size) {
    if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum == PN_XNUM) {
        return flaw(damaged);
    }
    if (!lies_inside(header.e_phoff, std::uint64_t{header.e_phnum} * sizeof(Elf64_Phdr), size)) return flaw(truncated);
    bool loads = false;
    bool is_dynamic = false;
    for (unsigned i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment{};
        if (!file.read(header.e_phoff + i * sizeof segment, segment)) return flaw(truncated);
        if (segment.p_type == PT_NULL) continue;
        if (!lies_inside(segment.p_offset, segment.p_filesz, size)) return flaw(truncated);
        if (segment.p_type == PT_LOAD && segment.p_filesz > segment.p_memsz) return flaw(damaged);
        loads = loads || segment.p_type == PT_LOAD;
        is_dynamic = is_dynamic || segment.p_type == PT_DYNAMIC;
    }
    if (!loads || !is_dynamic)
        return flaw(
            "is not a library that can be loaded: it has no dynamic segment "
            "(link it with -shared; a .debug file is not a plugin)");
    return {};
}

// A stripped file may have no sections at all.
Check check_sections(const File& file, const Elf64_Ehdr& header, std::uint64_t size) {
    if (header.e_shoff == 0) return {};
    if (header.e_shnum != 0 && header.e_shentsize != sizeof(Elf64_Shdr)) return flaw(damaged);
    if (!lies_inside(header.e_shoff, std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr), size)) return flaw(truncated);
    for (unsigned i = 0; i < header.e_shnum; ++i) {
        Elf64_Shdr section{};
        if (!file.read(header.e_shoff + i * sizeof section, section)) return flaw(truncated);
        const bool in_file = section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL;
        if (in_file && !lies_inside(section.sh_offset, section.sh_size, size)) return flaw(truncated);
    }
    return {};
}

// ---- The descriptor ------------------------------------------------------------------------------------------------

// A size field that may lie between the first of this ABI version and ours.
Check check_grown(const char* field, std::uint32_t theirs, std::uint64_t first, std::uint64_t ours) {
    if (theirs >= first && theirs <= ours) return {};
    std::string text(field);
    text.append(" is ").append(std::to_string(theirs)).append(", this umbeld takes ").append(std::to_string(first));
    if (first != ours) text.append(" to ").append(std::to_string(ours));
    return flaw(text.append(theirs > ours ? ": the plugin is newer than this umbeld (upgrade umbeld, or rebuild the "
                                            "plugin against include/umbel/abi.h of this version)"
                                          : " (rebuild the plugin against include/umbel/abi.h of this version)"));
}

Check check_main(const umbel_actor_type& main, std::uint32_t actor_type_size) {
    // `size` comes first: until it has been compared, nothing behind it is read (I2).
    if (main.size != actor_type_size) {
        return flaw("main->size is " + std::to_string(main.size) + ", actor_type_size says " +
                    std::to_string(actor_type_size) + " (give it .size = sizeof(umbel_actor_type))");
    }
    if (main.state_size > UMBEL_STATE_MAX) {
        return flaw("main->state_size is " + std::to_string(main.state_size) + ", at most " +
                    std::to_string(UMBEL_STATE_MAX) + " is possible (keep the rest elsewhere)");
    }
    if (main.name == nullptr) return flaw("main->name is null (name the actor type)");
    if (main.run == nullptr && main.message == nullptr) {
        return flaw("main has neither run nor message (give it one of the two)");
    }
    if (main.run != nullptr && main.message != nullptr) {
        return flaw("main has both run and message (give it one of the two)");
    }
    if (main.run != nullptr && (main.start != nullptr || main.stop != nullptr)) {
        return flaw("main has run, and start or stop, which only a handler has (remove them)");
    }
    return {};
}

// ---- What lives as long as the process -----------------------------------------------------------------------------

struct FileOwner {
    dev_t device;
    ino_t inode;
    std::string name;
    std::string origin;
};

struct Registry {
    std::set<std::string, std::less<>> names;
    std::deque<umbel_plugin> descriptors;
    std::deque<std::unique_ptr<const umbel_settings>> settings;
    std::deque<FileOwner> files;  // I3
};

Registry& registry() {
    // Never destroyed: plugins may use it until the very end of the process.
    static Registry& only = *new Registry;
    return only;
}

std::unexpected<Error> refuse(const PluginOptions& plugin, std::string_view key, std::string_view cause) {
    std::string message;
    if (!plugin.origin.empty()) message.append(plugin.origin).append(": ");
    message.append("plugin.").append(plugin.name).append(key).append(": ").append(cause);
    return fail(ErrorClass::configuration, std::move(message));
}

// Text from outside as part of one line.
std::string one_line(std::string text) {
    std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, ' ');
    text.erase(text.find_last_not_of(' ') + 1);
    return text;
}

// dlerror() as cause and remedy. It says "PATH: cause"; the path has been said already.
std::string explain_dlerror(const std::string& path) {
    const char* const said = ::dlerror();
    std::string cause = one_line(said == nullptr ? "the dynamic linker gives no reason" : said);
    if (cause.starts_with(path + ": ")) cause.erase(0, path.size() + 2);
    const auto mentions = [&](const char* words) { return cause.find(words) != std::string::npos; };
    const char* remedy = "build it again on this system";
    if (mentions("undefined symbol")) {
        remedy =
            "link the plugin with the library that defines it; the runtime's functions come by umbel_host, not by "
            "symbols";
    } else if (mentions("cannot open shared object file")) {
        remedy = "install the library it needs";
    } else if (mentions("failed to map segment")) {
        remedy = "keep plugins on a file system that is not mounted noexec, and inside the unit's ExecPaths=";
    } else if (mentions("version `")) {
        remedy = "build the plugin on this distribution, or install the newer library";
    }
    return cause.append(" (").append(remedy).append(")");
}

// How many bytes the symbol at `address` has, 0 if the library does not say.
std::size_t symbol_size(const void* address) {
    Dl_info place{};
    void* extra = nullptr;
    if (::dladdr1(address, &place, &extra, RTLD_DL_SYMENT) == 0) return 0;
    const auto* const symbol = static_cast<const ElfW(Sym)*>(extra);
    if (symbol == nullptr || place.dli_saddr != address || ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT) return 0;
    return symbol->st_size;
}

// The plugin's settings as rows of our size, whatever theirs is.
std::vector<umbel_setting> copy_settings(const umbel_plugin& descriptor) {
    std::vector<umbel_setting> rows(descriptor.setting_count, umbel_setting{});
    const auto* const first = reinterpret_cast<const char*>(descriptor.settings);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::memcpy(&rows[i], first + i * descriptor.setting_size, descriptor.setting_size);
    }
    return rows;
}

// What open_plugin() does once there is a descriptor, of which `available` bytes may be read; `what` names it.
Result<LoadedPlugin> take_descriptor(const PluginOptions& plugin, const umbel_plugin* theirs, std::size_t available,
                                     const std::string& what) {
    if (auto fits = check_descriptor(theirs, available); !fits) {  // I2
        return refuse(plugin, "", what + " does not fit: " + fits.error());
    }
    umbel_plugin descriptor{};
    std::memcpy(&descriptor, theirs, theirs->descriptor_size);
    if (descriptor.description == nullptr) descriptor.description = "";

    const std::vector<umbel_setting> table = copy_settings(descriptor);
    auto settings = check_settings(plugin, table);
    if (!settings) return std::unexpected(settings.error());

    Registry& kept = registry();
    LoadedPlugin loaded;
    loaded.name = kept.names.insert(plugin.name).first->c_str();
    loaded.descriptor = &kept.descriptors.emplace_back(descriptor);
    loaded.settings = kept.settings.emplace_back(std::move(*settings)).get();
    loaded.setting_lines = describe_settings(table);
    loaded.origin = plugin.origin;
    return loaded;
}

}  // namespace

Check check_library_file(const std::string& path) {
    const File file(path);
    if (file.fd() < 0) {
        const int error = errno;
        const char* const remedy = error == ENOENT ? "build or install the plugin, or correct the path; a relative one "
                                                     "is searched in daemon.plugin_dir"
                                   : error == EACCES ? "let the daemon's user read it"
                                                     : "correct the path";
        return flaw(std::string("cannot be opened: ") + std::strerror(error) + " (" + remedy + ")");
    }
    struct stat status{};
    if (::fstat(file.fd(), &status) != 0) return flaw(std::string("cannot be read: ") + std::strerror(errno));
    if (S_ISDIR(status.st_mode)) return flaw("is a folder (name the .so file in it)");
    if (!S_ISREG(status.st_mode)) return flaw("is not a regular file (name a .so file)");
    if (status.st_size == 0) return flaw("is empty (copy it again, or build it again)");
    const auto size = static_cast<std::uint64_t>(status.st_size);

    std::array<unsigned char, SELFMAG> magic{};
    if (!file.read(0, magic) || std::memcmp(magic.data(), ELFMAG, SELFMAG) != 0) {
        return flaw("is not an ELF file (name a shared library, .so)");
    }
    Elf64_Ehdr header{};
    if (!file.read(0, header)) return flaw(truncated);
    if (auto checked = check_kind(header); !checked) return checked;
    if (header.e_ehsize != sizeof header) return flaw(damaged);
    if (auto checked = check_segments(file, header, size); !checked) return checked;
    return check_sections(file, header, size);
}

Check check_descriptor(const umbel_plugin* descriptor, std::size_t available) {
    if (available < identity_size) {
        return flaw("umbel_plugin_descriptor has " + std::to_string(available) +
                    " bytes (define it as a const umbel_plugin)");
    }
    if (reinterpret_cast<std::uintptr_t>(descriptor) % alignof(umbel_plugin) != 0) {
        return flaw("umbel_plugin_descriptor is not aligned (define it as a const umbel_plugin)");
    }
    const umbel_plugin& plugin = *descriptor;
    if (plugin.magic != UMBEL_ABI_MAGIC) {
        return flaw("magic is " + hexadecimal(plugin.magic) + ", not " + hexadecimal(UMBEL_ABI_MAGIC) +
                    " (begin the descriptor with UMBEL_PLUGIN_HEADER)");
    }
    if (plugin.abi_version != UMBEL_ABI_VERSION) {
        return flaw("abi_version is " + std::to_string(plugin.abi_version) + ": built for ABI " +
                    std::to_string(plugin.abi_version) + ", this umbeld speaks " + std::to_string(UMBEL_ABI_VERSION) +
                    " (rebuild the plugin against include/umbel/abi.h of this version)");
    }
    if (auto fits = check_grown("descriptor_size", plugin.descriptor_size, first_descriptor_size, sizeof plugin);
        !fits) {
        return fits;
    }
    if (available < plugin.descriptor_size) {
        return flaw("descriptor_size is " + std::to_string(plugin.descriptor_size) +
                    ", but umbel_plugin_descriptor has " + std::to_string(available) +
                    " bytes (define it as a const umbel_plugin)");
    }
    // From here on every field of the first header may be read (I2).
    struct Size {
        const char* field;
        std::uint32_t theirs;
        std::size_t first;
        std::size_t ours;
    };
    const Size sizes[] = {
        {"host_size", plugin.host_size, first_host_size, sizeof(umbel_host)},
        {"operation_size", plugin.operation_size, sizeof(umbel_operation), sizeof(umbel_operation)},
        {"message_size", plugin.message_size, sizeof(umbel_message), sizeof(umbel_message)},
        {"actor_type_size", plugin.actor_type_size, first_actor_type_size, sizeof(umbel_actor_type)},
        {"setting_size", plugin.setting_size, first_setting_size, sizeof(umbel_setting)},
    };
    for (const Size& size : sizes) {
        if (auto fits = check_grown(size.field, size.theirs, size.first, size.ours); !fits) return fits;
    }
    if (plugin.setting_count > max_settings) {
        return flaw("setting_count is " + std::to_string(plugin.setting_count) + ", at most " +
                    std::to_string(max_settings) + " are taken (count the rows of its table)");
    }
    if (plugin.settings == nullptr && plugin.setting_count != 0) {
        return flaw("settings is null and setting_count is " + std::to_string(plugin.setting_count) +
                    " (give the table, or count 0)");
    }
    if (plugin.name == nullptr || *plugin.name == '\0') return flaw("name is null or empty (give the plugin a name)");
    if (plugin.version == nullptr || *plugin.version == '\0') {
        return flaw("version is null or empty (give the plugin a version)");
    }
    if (plugin.load == nullptr) return flaw("load is null (give a function; it may just return 0)");
    if (plugin.main == nullptr) return flaw("main is null (give the actor type to spawn)");
    if (auto fits = check_main(*plugin.main, plugin.actor_type_size); !fits) return fits;
    if (plugin.main_placement != UMBEL_MAIN_EVERYWHERE && plugin.main_placement != UMBEL_MAIN_ONCE) {
        return flaw("main_placement is " + std::to_string(plugin.main_placement) +
                    ", neither UMBEL_MAIN_EVERYWHERE (0) nor UMBEL_MAIN_ONCE (1)");
    }
    return {};
}

Result<LoadedPlugin> open_plugin(const PluginOptions& plugin) {
    if (plugin.builtin != nullptr)
        return take_descriptor(plugin, plugin.builtin, sizeof(umbel_plugin), "its descriptor");
    if (auto whole = check_library_file(plugin.path); !whole) {  // I1
        return refuse(plugin, ".path", quotation(plugin.path, PATH_MAX) + " " + whole.error());
    }
    char* const resolved = ::realpath(plugin.path.c_str(), nullptr);
    struct stat status{};
    if (resolved == nullptr || ::stat(resolved, &status) != 0) {
        const int error = errno;
        std::free(resolved);
        return refuse(plugin, ".path",
                      quotation(plugin.path, PATH_MAX) + " cannot be resolved: " + std::strerror(error));
    }
    const std::string path(resolved);
    std::free(resolved);

    Registry& kept = registry();
    const auto owner = std::ranges::find_if(
        kept.files, [&](const FileOwner& file) { return file.device == status.st_dev && file.inode == status.st_ino; });
    if (owner != kept.files.end() && owner->name != plugin.name) {  // I3
        const std::string where = owner->origin.empty() ? "" : " (" + owner->origin + ")";
        return refuse(plugin, ".path",
                      quotation(plugin.path, PATH_MAX) + " is already loaded as [plugin." + owner->name + "]" + where +
                          ": both would share its globals (give this section a copy of the file)");
    }

    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        return refuse(plugin, ".path",
                      quotation(plugin.path, PATH_MAX) + " cannot be loaded: " + explain_dlerror(path));
    }
    const void* const symbol = ::dlsym(library, "umbel_plugin_descriptor");
    if (symbol == nullptr) {
        return refuse(plugin, ".path",
                      quotation(plugin.path, PATH_MAX) +
                          " is a library but not an Umbel plugin: it does not export "
                          "umbel_plugin_descriptor (define it, UMBEL_EXPORT, as in "
                          "include/umbel/abi.h; in C++ it must be extern \"C\" and not static)");
    }
    const auto* const theirs = static_cast<const umbel_plugin*>(symbol);
    Result<LoadedPlugin> loaded =
        take_descriptor(plugin, theirs, symbol_size(symbol), quotation(plugin.path, PATH_MAX));
    if (!loaded) return loaded;
    if (owner == kept.files.end()) kept.files.push_back({status.st_dev, status.st_ino, plugin.name, plugin.origin});
    loaded->path = path;
    return loaded;
}

namespace {

// Calls what a plugin gives for reading settings. `function`: its name, for messages.
template <class Call>
Result<void> guarded_call(const LoadedPlugin& plugin, const std::string& origin, const std::string& function,
                          Call&& call) {
    std::array<char, load_error_size> written{};
    std::string cause;
    try {
        const int status = call(written.data(), written.size());
        written.back() = '\0';
        if (status == 0) return {};
        cause = one_line(written.data());
        if (cause.empty()) {
            cause = function + " returned " + std::to_string(status) + " and no reason (see its documentation)";
        }
    } catch (const std::exception& thrown) {
        cause = one_line(function + " threw an exception: " + thrown.what());
    } catch (...) {
        cause = function + " threw something that is not a std::exception";
    }
    std::string message;
    if (!origin.empty()) message.append(origin).append(": ");
    message.append("plugin.").append(plugin.name).append(": ").append(cause);
    return fail(ErrorClass::configuration, std::move(message));
}

}  // namespace

Result<void> call_load(const LoadedPlugin& plugin, const umbel_host& host) {
    return guarded_call(plugin, plugin.origin, "load", [&](char* error, std::size_t size) {
        return plugin.descriptor->load(&host, plugin.settings, error, size);
    });
}

Result<std::unique_ptr<const umbel_settings>> check_new_settings(const LoadedPlugin& plugin,
                                                                 const PluginOptions& section) {
    return check_settings(section, copy_settings(*plugin.descriptor));
}

Result<void> call_reload_check(const LoadedPlugin& plugin, const umbel_settings& settings,
                               const PluginOptions& section) {
    return guarded_call(plugin, section.origin, "reload", [&](char* error, std::size_t size) {
        return plugin.descriptor->reload(&settings, UMBEL_RELOAD_CHECK, error, size);
    });
}

void call_reload_apply(LoadedPlugin& plugin, std::unique_ptr<const umbel_settings> settings) {
    plugin.settings = registry().settings.emplace_back(std::move(settings)).get();
    std::array<char, load_error_size> unread{};
    (void)plugin.descriptor->reload(plugin.settings, UMBEL_RELOAD_APPLY, unread.data(), unread.size());
}

void call_reload_drop(const LoadedPlugin& plugin, const umbel_settings& settings) {
    std::array<char, load_error_size> unread{};
    (void)plugin.descriptor->reload(&settings, UMBEL_RELOAD_DROP, unread.data(), unread.size());
}

}  // namespace umbel::rt

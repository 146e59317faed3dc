// echo_options.h: what the echo peers share: their command line and their listening socket.
//
// Not here.  Anything that is measured.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace umbel::bench {

struct EchoOptions {
    std::uint16_t port = 0;
    std::size_t buffer_size = 4096;  // Bytes received at most at once.
};

/// PORT [--buffer-size BYTES]; ends the program with 64 and a usage line if it is anything else.
inline EchoOptions echo_options(int argc, char** argv) {
    const auto parse = [](std::string_view text, auto& number) {
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
        return error == std::errc{} && end == text.data() + text.size();
    };
    EchoOptions options;
    bool good = (argc == 2 || argc == 4) && parse(argv[1], options.port) && options.port != 0;
    if (good && argc == 4)
        good = std::string_view(argv[2]) == "--buffer-size" && parse(argv[3], options.buffer_size) &&
               options.buffer_size >= 1 && options.buffer_size <= 1U << 20;
    if (!good) {
        std::fprintf(stderr, "usage: %s PORT [--buffer-size BYTES, at most 1 MiB]\n", argv[0]);
        std::exit(64);
    }
    return options;
}

/// Listens on 127.0.0.1:port. Sockets accepted from it inherit TCP_NODELAY. Ends the program with 1 if it cannot.
inline int echo_listener(std::uint16_t port, int flags = 0) {
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    const int on = 1;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener, 4096) != 0) {
        std::fprintf(stderr, "cannot listen on 127.0.0.1:%u: %s\n", unsigned{port}, std::strerror(errno));
        std::exit(1);
    }
    return listener;
}

}  // namespace umbel::bench

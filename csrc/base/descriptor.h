// An open file that closes itself.
#pragma once

#include <unistd.h>

#include <utility>

namespace llmcore {

class Descriptor {
public:
    // Takes what open(2) returned, -1 included.
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() { close(); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    explicit operator bool() const { return fd_ >= 0; }
    int get() const { return fd_; }
    // Whoever takes it closes it.
    int release() { return std::exchange(fd_, -1); }
    // What is written may be refused as late as here: false.
    bool close() { return fd_ < 0 || ::close(release()) == 0; }

private:
    int fd_;
};

}  // namespace llmcore

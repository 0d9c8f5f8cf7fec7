// The files of a KV cache's folder: which there are, how old, and which have to go.
//
//   FOLDER/secret              of all the folder's models
//   FOLDER/MODEL/BLOCK.kv      16 and 32 hexadecimal digits
#pragma once

#include <cstdint>
#include <filesystem>
#include <list>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "cache/block_file.h"

namespace llmcore {

// Not safe against several threads; against other processes that use the folder it is, but for the limit,
// which holds as of the last scan.
class CacheFolder {
public:
    // Makes the model's folder where it is not there. Throws Error(invalid_argument) if it cannot be used.
    CacheFolder(std::filesystem::path folder, std::uint64_t model, std::int64_t file_bytes,
                std::int64_t limit_bytes);

    // Looks again at what is there. Files of the model that have another size than its blocks, and what
    // writers that died left behind, are removed.
    void scan();

    bool contains(const BlockKey& key) const { return own_.contains(key); }
    std::filesystem::path path_of(const BlockKey& key) const;
    // A block was read or written: it is the most recently used one.
    void used(const BlockKey& key);
    void remove(const BlockKey& key);
    // Removes the files, of whatever model, that were used least recently until another block fits; false if
    // none can. removed: those of them that are the model's.
    bool make_room(std::vector<BlockKey>& removed);
    // The model's blocks.
    std::unordered_set<BlockKey> keys() const;

private:
    struct File {
        std::filesystem::path path;
        std::int64_t bytes = 0;
        bool own = false;
        BlockKey key;
    };

    void scan_model(const std::filesystem::path& folder, bool own,
                    std::list<std::pair<std::int64_t, File>>& found);
    void forget(std::list<File>::iterator file);

    std::filesystem::path folder_;
    std::filesystem::path model_folder_;
    std::int64_t file_bytes_;
    std::int64_t limit_bytes_;
    std::int64_t total_bytes_ = 0;
    std::list<File> files_;  // the least recently used one first
    std::unordered_map<BlockKey, std::list<File>::iterator> own_;
};

}  // namespace llmcore

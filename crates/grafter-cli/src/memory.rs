//! How much memory this process may still take, as far as the system tells.

use std::fs;
use std::path::Path;

/// Where the groups of processes are told of, of either version.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes that are free on the machine, or in the container if that is less; `None` where neither is told.
pub fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let container = groups.and_then(|groups| left_in_groups(&groups, Path::new(GROUPS)));
    machine.into_iter().chain(container).min()
}

/// `MemAvailable` of `/proc/meminfo`, which is in units of 1024 bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The files of a group that tell what it may take, what it takes, and the lines of `memory.stat` that tell
/// how much of that are pages of files, and of these the ones that lie in memory alone.
struct Files {
    most: &'static str,
    taken: &'static str,
    cached: &'static str,
    shared: &'static str,
}

const VERSION_1: Files = Files {
    most: "memory.limit_in_bytes",
    taken: "memory.usage_in_bytes",
    cached: "total_cache ",
    shared: "total_shmem ",
};
const VERSION_2: Files =
    Files { most: "memory.max", taken: "memory.current", cached: "file ", shared: "shmem " };

/// What a process may still take by its group and by those around it, of which each has a limit of its own. `groups` is what
/// `/proc/self/cgroup` says: lines of a number, controllers and a path, `0::/a/b` of version 2, `4:memory:/a/b` of version 1. In
/// a container the path may be the machine's: of what is not there, nothing is told.
fn left_in_groups(groups: &str, root: &Path) -> Option<u64> {
    let of_line = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, files) = match controllers {
            "" => (root.to_owned(), VERSION_2),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), VERSION_1),
            _ => return None,
        };
        let group = Path::new(path.trim_start_matches('/'));
        group.ancestors().filter_map(|group| left_in_group(&root.join(group), &files)).min()
    };
    groups.lines().filter_map(of_line).min()
}

/// What a group may still take: pages of files are given back when they are needed. `None` if it has no limit.
fn left_in_group(group: &Path, files: &Files) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(group.join(name)).ok();
    let number = |name| read(name)?.trim().parse::<u64>().ok();
    let (most, taken) = (number(files.most)?, number(files.taken)?);
    let stat = read("memory.stat").unwrap_or_default();
    let of_stat =
        |name| stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok()).unwrap_or(0);
    let given_back = of_stat(files.cached).saturating_sub(of_stat(files.shared));
    Some(most.saturating_sub(taken.saturating_sub(given_back)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_has_free_is_read() {
        let meminfo =
            "MemTotal:       24683648 kB\nMemFree:  1 kB\nMemAvailable:   19750000 kB\nBuffers: 3 kB\n";
        assert_eq!(available(meminfo), Some(19_750_000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    /// A folder of groups; each file is named by its path.
    fn groups(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn the_narrowest_group_around_the_process_decides() {
        let root = groups(&[
            ("a/memory.max", "1000\n"),
            ("a/memory.current", "700\n"),
            ("a/memory.stat", "anon 600\nfile 85\nfile_mapped 3\nshmem 5\n"),
            ("a/b/memory.max", "max\n"),
            ("a/b/memory.current", "650\n"),
            ("a/c/memory.max", "500\n"),
            ("a/c/memory.current", "600\n"),
        ]);
        let left = |groups| left_in_groups(groups, root.path());
        assert_eq!(left("0::/a\n"), Some(380));
        assert_eq!(left("0::/a/b\n"), Some(380), "its own has no limit, the one around it has");
        assert_eq!(left("0::/a/c\n"), Some(0));
        assert_eq!(left("0::/\n"), None);
        assert_eq!(left("no line of a group\n"), None);
    }

    #[test]
    fn groups_of_the_first_version_are_read_where_they_are() {
        let root = groups(&[
            ("memory/memory.limit_in_bytes", "2000\n"),
            ("memory/memory.usage_in_bytes", "900\n"),
            ("memory/memory.stat", "cache 1\ntotal_cache 130\ntotal_shmem 30\n"),
        ]);
        // The path is that of the machine, of which the container sees nothing.
        let groups = "5:cpu,cpuacct:/\n4:memory:/docker/0123\n0::/docker/0123\n";
        assert_eq!(left_in_groups(groups, root.path()), Some(1200));
    }
}

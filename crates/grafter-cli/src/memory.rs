//! How much memory this process may still take, as far as the system tells.

use std::fs;
use std::path::Path;

/// Bytes that are free on the machine, or in the container if that is less; `None` where neither is told.
pub fn free() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| available(&text));
    let container = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let group = Path::new("/sys/fs/cgroup").join(group_of(&text)?.trim_start_matches('/'));
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        left_in_group(&read("memory.max")?, &read("memory.current")?, &read("memory.stat")?)
    });
    machine.into_iter().chain(container).min()
}

/// `MemAvailable` of `/proc/meminfo`, which is in units of 1024 bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The group of the unified hierarchy.
fn group_of(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// What a group may still take: pages of files are given back when they are needed. `None` if it has no limit.
fn left_in_group(max: &str, current: &str, stat: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let files = stat.lines().find_map(|line| line.strip_prefix("file ")).and_then(|files| files.parse().ok());
    Some(max.saturating_sub(current.saturating_sub(files.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_read() {
        let meminfo =
            "MemTotal:       24683648 kB\nMemFree:  1 kB\nMemAvailable:   19750000 kB\nBuffers: 3 kB\n";
        assert_eq!(available(meminfo), Some(19_750_000 * 1024));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
        assert_eq!(group_of("4:memory:/other\n0::/a/b\n"), Some("/a/b"));
        assert_eq!(left_in_group("1000\n", "700\n", "anon 600\nfile 80\nfile_mapped 3\n"), Some(380));
        assert_eq!(left_in_group("500\n", "700\n", ""), Some(0));
        assert_eq!(left_in_group("max\n", "700\n", ""), None);
    }
}

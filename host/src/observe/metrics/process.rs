//! What the process uses, under the names that Prometheus's own client libraries give it, so that ready-made dashboards show it.

use std::fmt::Write as _;
use std::fs;

/// Memory and CPU time, as far as `/proc` tells; elsewhere nothing.
pub(super) fn render(out: &mut String) {
    if let Some(bytes) = resident_bytes() {
        let _ = write!(
            out,
            "# HELP process_resident_memory_bytes Resident memory of the process\n# TYPE process_resident_memory_bytes gauge\n\
             # UNIT process_resident_memory_bytes bytes\nprocess_resident_memory_bytes {bytes}\n"
        );
    }
    if let Some(seconds) = cpu_seconds() {
        let _ = write!(
            out,
            "# HELP process_cpu_seconds CPU time of the process, user and system\n# TYPE process_cpu_seconds counter\n\
             # UNIT process_cpu_seconds seconds\nprocess_cpu_seconds_total {seconds}\n"
        );
    }
}

/// `VmRSS` of `/proc/self/status`, proc(5).
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Fields 14 and 15 of `/proc/self/stat`, proc(5), in ticks of which Linux makes 100 a second towards programs (USER_HZ).
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The program's name may hold blanks; it ends at the last bracket.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u32>().ok()?.checked_add(fields.get(12)?.parse::<u32>().ok()?)?;
    Some(f64::from(ticks) / 100.0)
}

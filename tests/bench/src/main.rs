//! The whole bridge, measured beside a native twin: records a second, CPU time a record, peak memory.
//!
//! Both consume the same records from a real broker and call the same HTTP server, one after the other, in turn, several times. What differs is
//! that the twin has the three transforms compiled in. Figures are medians of the runs; quote the ratio, not the times: the machine is whatever it
//! is. CPU time is that of the host's process between a tenth of the requests and all of them, so that start and compilation are not in it.
//!
//! `cargo run --release -p bench -- [RECORDS] [RUNS]`; the guests and `keyway` must be built (`make bench` does it).

mod load;
mod sink;
mod twin;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use e2e::Broker;
use load::Load;
use sink::Sink;

/// A run that takes longer than this has stopped.
const DEADLINE: Duration = Duration::from_secs(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Keyway,
    Twin,
}

/// What one run showed.
#[derive(Debug, Clone, Copy)]
struct Figures {
    records_per_second: f64,
    cpu_us_per_record: f64,
    peak_mib: f64,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["twin", config] => match twin::run(Path::new(config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: {error}"));
                ExitCode::FAILURE
            }
        },
        [] => compare(100_000, 3),
        [records] => compare(number(records), 3),
        [records, runs] => compare(number(records), number(runs)),
        _ => {
            say("usage: bench [RECORDS] [RUNS]");
            ExitCode::from(2)
        }
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

fn compare(records: usize, runs: usize) -> ExitCode {
    let broker = Broker::shared();
    let topic = broker.topic("bench", 8);
    let load = Load::new(records);
    say(&format!("{records} records of about {} bytes over 8 partitions, Zipf keys of three kinds, {} requests", load.mean_bytes(), load.requests));
    load.produce(broker, &topic);
    let sink = Sink::start();
    let mut all: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    for run in 0..runs {
        for (program, figures) in [Program::Keyway, Program::Twin].into_iter().zip(&mut all) {
            let group = broker.name("bench");
            let measured = measure(program, broker, &topic, &group, &sink, &load);
            say(&format!("run {run}: {program:?} {measured}"));
            figures.push(measured);
        }
    }
    let [keyway, twin] = all.map(|figures| median(&figures));
    say(&format!("median: keyway {keyway}\nmedian: twin   {twin}"));
    say(&format!(
        "keyway to twin: {:.2} times the CPU time a record, {:.2} times the records a second",
        keyway.cpu_us_per_record / twin.cpu_us_per_record,
        keyway.records_per_second / twin.records_per_second
    ));
    ExitCode::SUCCESS
}

fn measure(program: Program, broker: &Broker, topic: &str, group: &str, sink: &Sink, load: &Load) -> Figures {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plugins = folder.path().join("plugins");
    fs::create_dir(&plugins).expect("a plugin directory");
    for name in ["order", "shipment", "refund"] {
        let file = format!("{name}.wasm");
        fs::copy(guests().join(&file), plugins.join(&file)).unwrap_or_else(|error| panic!("`{file}` is not built (`make guests`): {error}"));
    }
    let url = sink.url();
    let mut config = format!(
        "[kafka]\nbrokers = \"{}\"\ntopics = [\"{topic}\"]\ngroup = \"{group}\"\ndead_letters = \"{group}.dead-letters\"\n[plugins]\ndirectory = \"plugins\"\n",
        broker.address
    );
    for name in ["orders", "shipping", "payments"] {
        config.push_str(&format!("[destinations.{name}]\nurl = \"{url}/{name}\"\nconcurrency = 64\n"));
    }
    let file = folder.path().join("keyway.toml");
    fs::write(&file, config).expect("a configuration");
    sink.reset();
    let mut child = start(program, &file, folder.path());
    let (begun, cpu_begun) = (sink.await_count(load.requests / 10, DEADLINE), cpu(&child));
    let (ended, cpu_ended) = (sink.await_count(load.requests, DEADLINE), cpu(&child));
    let peak_mib = peak(&child);
    stop(&mut child);
    let share = 0.9 * load.records() as f64;
    Figures {
        records_per_second: share / ended.duration_since(begun).as_secs_f64(),
        cpu_us_per_record: (cpu_ended - cpu_begun).as_secs_f64() * 1e6 / share,
        peak_mib,
    }
}

fn guests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/built")
}

fn start(program: Program, config: &Path, folder: &Path) -> Child {
    let mut command = match program {
        Program::Keyway => {
            let mut command = Command::new(std::env::current_exe().expect("this program's own path").with_file_name("keyway"));
            command.args(["run", "--config"]);
            command
        }
        Program::Twin => {
            let mut command = Command::new(std::env::current_exe().expect("this program's own path"));
            command.arg("twin");
            command
        }
    };
    let log = fs::File::create(folder.join("log")).expect("a log file");
    command.arg(config).stdin(Stdio::null()).stdout(log.try_clone().expect("a log file")).stderr(log).spawn().expect("the host to start")
}

fn stop(child: &mut Child) {
    let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().expect("the host's status").is_none() {
        assert!(Instant::now() < deadline, "the host did not end after SIGTERM");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU time of a process so far (`/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu(child: &Child) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("the host to be running");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|&field: &usize| fields[field].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that a process has held, in MiB.
fn peak(child: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).expect("the host to be running");
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.expect("`VmHWM`") / 1024.0
}

fn median(figures: &[Figures]) -> Figures {
    let of = |pick: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = figures.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Figures {
        records_per_second: of(|figures| figures.records_per_second),
        cpu_us_per_record: of(|figures| figures.cpu_us_per_record),
        peak_mib: of(|figures| figures.peak_mib),
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:7.0} records/s, {:5.1} us of CPU a record, {:4.0} MiB peak", self.records_per_second, self.cpu_us_per_record, self.peak_mib)
    }
}

#[expect(clippy::print_stdout, reason = "a benchmark is read where it is run")]
fn say(text: &str) {
    println!("{text}");
}

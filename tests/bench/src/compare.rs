//! What the sandbox costs: records a second, CPU time a record and peak memory, beside a native twin.
//!
//! Both consume the same records from a real broker and call the same HTTP server, one after the other, in turn, several times. What differs is
//! that the twin has the three transforms compiled in. CPU time is that of the host's process between a tenth of the requests and all of them, so
//! that start and compilation are not in it.

use std::fs;
use std::time::Duration;

use e2e::{Broker, Host};

use crate::figures::{median, say};
use crate::load::Load;
use crate::setting::{DEADLINE, KINDS, PARTITIONS, host, peak_mib};
use crate::sink::Sink;
use crate::twin;

/// Keys of each kind.
const KEYS: usize = 1_000;

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

pub(crate) fn run(records: usize, runs: usize) {
    let broker = Broker::shared();
    let topic = broker.topic("bench", PARTITIONS);
    let load = Load::new(&KINDS, records, KEYS);
    say(&format!(
        "twin: {records} records of about {} bytes over {PARTITIONS} partitions, Zipf keys of three kinds, {} requests",
        load.mean_bytes(),
        load.requests
    ));
    load.produce(broker, &topic);
    let sink = Sink::start(Duration::ZERO);
    let mut all: [Vec<Figures>; 2] = [Vec::new(), Vec::new()];
    for run in 0..runs {
        for (program, figures) in [Program::Keyway, Program::Twin].into_iter().zip(&mut all) {
            let measured = measure(program, broker, &topic, &sink, &load);
            say(&format!("run {run}: {program:?} {measured}"));
            figures.push(measured);
        }
    }
    let [keyway, twin] = all.map(|figures| Figures::median(&figures));
    say(&format!("median: keyway {keyway}\nmedian: twin   {twin}"));
    say(&format!(
        "keyway to twin: {:.2} times the CPU time a record, {:.2} times the records a second",
        keyway.cpu_us_per_record / twin.cpu_us_per_record,
        keyway.records_per_second / twin.records_per_second
    ));
}

fn measure(program: Program, broker: &Broker, topic: &str, sink: &Sink, load: &Load) -> Figures {
    sink.reset();
    let builder = host(broker, topic, &broker.name("bench"), |_| sink.url(), "concurrency = 64\n");
    let mut host = match program {
        Program::Keyway => builder,
        Program::Twin => builder.program(std::env::current_exe().expect("this program's own path"), twin::COMMAND),
    }
    .launch();
    let (begun, cpu_begun) = (sink.await_count(load.requests / 10, DEADLINE), cpu(&host));
    let (ended, cpu_ended) = (sink.await_count(load.requests, DEADLINE), cpu(&host));
    let peak_mib = peak_mib(&host);
    assert!(host.terminate().success(), "an orderly end");
    let share = 0.9 * load.records() as f64;
    Figures {
        records_per_second: share / ended.duration_since(begun).as_secs_f64(),
        cpu_us_per_record: (cpu_ended - cpu_begun).as_secs_f64() * 1e6 / share,
        peak_mib,
    }
}

/// CPU time of a process so far (`/proc/PID/stat`, fields 14 and 15, in ticks of 10 ms).
fn cpu(host: &Host) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", host.process().expect("a running host"))).expect("the host to be running");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|&field: &usize| fields[field].parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 10)
}

impl Figures {
    fn median(figures: &[Figures]) -> Figures {
        let of = |pick: fn(&Figures) -> f64| median(figures.iter().map(pick));
        Figures {
            records_per_second: of(|figures| figures.records_per_second),
            cpu_us_per_record: of(|figures| figures.cpu_us_per_record),
            peak_mib: of(|figures| figures.peak_mib),
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:7.0} records/s, {:5.1} us of CPU a record, {:4.0} MiB peak", self.records_per_second, self.cpu_us_per_record, self.peak_mib)
    }
}

//! The limit against a modelled destination: so many workers, so much time a request, a queue before them.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// A destination with a knee: beyond `workers` in flight, more requests only wait longer.
struct Model {
    start: Instant,
    limit: Limit,
    random: RefCell<fastrand::Rng>,
    /// Nanoseconds of work a request; exponentially distributed around it when `noisy`.
    work: f64,
    noisy: bool,
    /// When each worker is free.
    workers: BinaryHeap<Reverse<u64>>,
    /// Ends of what is in flight, with their beginnings.
    flying: BinaryHeap<Reverse<(u64, u64)>>,
    now: u64,
    done: u64,
}

impl Model {
    fn new(workers: usize, work: Duration, noisy: bool, seed: u64) -> Model {
        let start = Instant::now();
        Model {
            start,
            limit: Limit::new(Concurrency::Adaptive { min: 1, max: 1000 }, start),
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            work: work.as_nanos() as f64,
            noisy,
            workers: (0..workers).map(|_| Reverse(0)).collect(),
            flying: BinaryHeap::new(),
            now: 0,
            done: 0,
        }
    }

    fn resize(&mut self, workers: usize) {
        let mut free: Vec<u64> = self.workers.drain().map(|Reverse(free)| free).collect();
        free.sort_unstable();
        free.resize(workers, self.now);
        self.workers = free.into_iter().map(Reverse).collect();
    }

    /// Always more to send than the limit allows.
    fn run(&mut self, seconds: f64) -> (f64, f64) {
        let end = self.now + (seconds * 1e9) as u64;
        let (done, mut sum, mut samples) = (self.done, 0.0, 0.0);
        while self.now < end {
            while self.flying.len() < self.limit.get() {
                let Reverse(free) = self.workers.pop().unwrap();
                let factor = if self.noisy { -(1.0 - self.random.borrow_mut().f64()).ln() } else { 1.0 };
                let ends = free.max(self.now) + (self.work * factor) as u64 + 1;
                self.workers.push(Reverse(ends));
                self.flying.push(Reverse((ends, self.now)));
            }
            self.limit.saturated();
            let Reverse((ends, begun)) = self.flying.pop().unwrap();
            self.now = ends;
            self.done += 1;
            let at = |nanos| self.start + Duration::from_nanos(nanos);
            self.limit.ended(at(ends), Sign::Reply(Duration::from_nanos(ends - begun)));
            sum += self.limit.get() as f64;
            samples += 1.0;
        }
        ((self.done - done) as f64 / seconds, sum / samples)
    }
}

#[test]
fn finds_the_knee() {
    for (workers, work) in [(10, 20), (25, 20), (50, 50), (100, 20), (400, 100)] {
        let mut model = Model::new(workers, Duration::from_millis(work), false, 1);
        model.run(10.0);
        // Over three probes of the latency without load.
        let (rate, limit) = model.run(30.0);
        let best = workers as f64 * 1000.0 / work as f64;
        assert!(rate >= 0.9 * best, "{workers} x {work} ms: {rate:.0} of {best:.0} a second");
        assert!((0.8..=1.2).contains(&(limit / workers as f64)), "{workers} x {work} ms: limit {limit:.1}");
    }
}

#[test]
fn finds_it_in_noise() {
    for seed in 0..2 {
        for (workers, work) in [(20, 10), (50, 50)] {
            let mut model = Model::new(workers, Duration::from_millis(work), true, seed);
            model.run(10.0);
            let (rate, limit) = model.run(30.0);
            // With random work the best fixed number is one that keeps a queue; without one the workers run dry now and then.
            let best = workers as f64 * 1000.0 / work as f64;
            assert!(rate >= 0.95 * best, "{workers} x {work} ms, seed {seed}: {rate:.0} of {best:.0} a second, limit {limit:.1}");
            assert!(limit <= 1.6 * workers as f64, "{workers} x {work} ms, seed {seed}: limit {limit:.1}");
        }
    }
}

#[test]
fn backs_off_within_two_seconds() {
    for (workers, work) in [(20, 20), (50, 50), (200, 50)] {
        let mut model = Model::new(workers, Duration::from_millis(work), false, 1);
        // At some moments a probe is under way.
        for moment in [8.0, 10.05, 10.2, 13.0] {
            model.resize(workers);
            model.run(moment);
            model.resize(workers / 2);
            model.run(2.0);
            let limit = model.limit.get() as f64;
            assert!(limit <= 0.7 * workers as f64, "{workers} x {work} ms at {moment} s: {limit}");
            model.resize(workers);
            model.run(10.0);
            let (_, limit) = model.run(5.0);
            assert!((0.8..=1.2).contains(&(limit / workers as f64)), "{workers} x {work} ms afterwards: {limit:.1}");
        }
    }
}

#[test]
fn slower_for_good_is_not_overload() {
    let mut model = Model::new(50, Duration::from_millis(10), false, 1);
    model.run(15.0);
    model.work *= 4.0;
    model.run(40.0);
    let (rate, _) = model.run(10.0);
    assert!(rate >= 0.9 * 50.0 / 0.04, "{rate}");
}

#[test]
fn overload_halves_once_a_window() {
    let start = Instant::now();
    let mut limit = Limit::new(Concurrency::Adaptive { min: 2, max: 64 }, start);
    let at = |millis| start + Duration::from_millis(millis);
    for _ in 0..100 {
        limit.ended(at(60), Sign::Overload);
    }
    assert_eq!(limit.get(), 4);
    limit.ended(at(120), Sign::Overload);
    assert_eq!(limit.get(), 2);
    limit.ended(at(300), Sign::Overload);
    assert_eq!(limit.get(), 2, "never below the least");
}

#[test]
fn a_fixed_number_stays() {
    let start = Instant::now();
    let mut limit = Limit::new(Concurrency::Fixed(5), start);
    limit.ended(start + Duration::from_secs(2), Sign::Overload);
    limit.restart(start);
    assert_eq!(limit.get(), 5);
}

#[test]
fn does_not_grow_unasked() {
    let start = Instant::now();
    let mut limit = Limit::new(Concurrency::Adaptive { min: 1, max: 1000 }, start);
    for number in 0..10_000 {
        let at = start + Duration::from_millis(number);
        limit.ended(at, Sign::Reply(Duration::from_millis(1)));
    }
    assert!(limit.get() <= 8, "{}", limit.get());
}

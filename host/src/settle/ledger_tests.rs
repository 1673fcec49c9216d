use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn stay(id: u64) -> Arc<Assignment> {
    Arc::new(Assignment { id: AssignmentId(id), topic: "events".into(), partition: 0 })
}

fn at(id: u64, offset: i64) -> Position {
    Position { assignment: AssignmentId(id), offset }
}

fn open(ledger: &mut Ledger, position: Position) -> Ticket {
    match ledger.open(position, None) {
        Opened::Undecided(ticket) => ticket,
        other => panic!("{position:?}: {other:?}"),
    }
}

#[test]
fn the_watermark_waits_for_the_lowest_undecided_and_gaps_do_not_hold_it() {
    let mut ledger = Ledger::default();
    ledger.assign(stay(1), Some(100), "");
    // 100 and 101 were compacted away.
    let first = open(&mut ledger, at(1, 102));
    let second = open(&mut ledger, at(1, 105));
    ledger.settle(second);
    assert_eq!(ledger.marks()[0].next, NextOffset(102));
    ledger.settle(first);
    assert_eq!(ledger.marks()[0].next, NextOffset(106));
    assert_eq!(ledger.marks(), []);
}

#[test]
fn nothing_is_marked_before_anything_was_seen_or_committed() {
    let mut ledger = Ledger::default();
    ledger.assign(stay(1), None, "");
    assert_eq!(ledger.marks(), []);
    let ticket = open(&mut ledger, at(1, 7));
    assert_eq!(ledger.marks()[0].next, NextOffset(7));
    ledger.settle(ticket);
    assert_eq!(ledger.marks()[0].next, NextOffset(8));
}

#[test]
fn a_dropped_ticket_keeps_the_watermark() {
    let mut ledger = Ledger::default();
    ledger.assign(stay(1), Some(0), "");
    drop(open(&mut ledger, at(1, 0)));
    let later = open(&mut ledger, at(1, 1));
    ledger.settle(later);
    assert_eq!(ledger.marks()[0].next, NextOffset(0));
}

#[test]
fn a_late_finish_of_an_ended_stay_moves_nothing() {
    let mut ledger = Ledger::default();
    ledger.assign(stay(1), Some(0), "");
    let late = open(&mut ledger, at(1, 0));
    assert_eq!(ledger.release(&[AssignmentId(1)])[0].next, NextOffset(0));
    ledger.assign(stay(2), Some(0), "");
    let again = open(&mut ledger, at(2, 0));
    ledger.settle(late);
    assert_eq!(ledger.marks()[0].next, NextOffset(0));
    assert_eq!(ledger.open(at(1, 1), None), Opened::Fenced);
    ledger.settle(again);
    assert_eq!(ledger.marks()[0].next, NextOffset(1));
}

#[test]
fn a_restart_skips_what_was_settled_beyond_the_watermark_even_after_a_second_crash() {
    let mut ledger = Ledger::default();
    ledger.assign(stay(1), Some(0), "");
    let tickets: Vec<Ticket> = (0..10).map(|offset| open(&mut ledger, at(1, offset))).collect();
    for ticket in tickets.into_iter().filter(|ticket| ![0, 5].contains(&ticket.position().offset)) {
        ledger.settle(ticket);
    }
    let first = ledger.marks().remove(0);
    assert_eq!(first.next, NextOffset(0));

    // The second host sees three records and crashes before it has settled any.
    let mut second = Ledger::default();
    second.assign(stay(1), Some(0), &first.metadata);
    let undecided = open(&mut second, at(1, 0));
    assert_eq!(second.open(at(1, 1), None), Opened::Settled);
    assert_eq!(second.open(at(1, 2), None), Opened::Settled);
    let mark = second.marks().remove(0);
    drop(undecided);

    let mut third = Ledger::default();
    third.assign(stay(1), Some(mark.next.0), &mark.metadata);
    let undecided: Vec<i64> = (0..12).filter(|&offset| matches!(third.open(at(1, offset), None), Opened::Undecided(_))).collect();
    assert_eq!(undecided, [0, 5, 10, 11]);
}

#[test]
fn what_a_commit_cannot_tell_is_counted() {
    let mut ledger = Ledger::default();
    ledger.assign(stay(1), Some(0), "");
    let mut random = fastrand::Rng::with_seed(4);
    let mut settled = 0_u64;
    let mut undecided = Vec::new();
    for offset in 0..100_000 {
        let ticket = open(&mut ledger, at(1, offset));
        if offset > 0 && random.bool() {
            ledger.settle(ticket);
            settled += 1;
        } else {
            undecided.push(ticket);
        }
    }
    // All keys are different, so that it can be told neither by offset nor by key.
    let forgotten = ledger.forgotten();
    assert!((settled / 2..=settled).contains(&forgotten), "{forgotten} of {settled}");
    assert!(!ledger.every_mark()[0].exact);
    undecided.drain(1..).for_each(|ticket| ledger.settle(ticket));
    assert_eq!(ledger.forgotten(), 0);
    assert_eq!(ledger.every_mark(), ledger.marks());
}

#[derive(Debug, Clone)]
enum Step {
    /// See the next record, after a gap of this many offsets.
    See(i64),
    /// Settle one of the open tickets.
    Settle(usize),
    /// Lose one of them.
    Drop(usize),
    /// Commit.
    Commit,
    /// Crash: all that is not committed is forgotten, and a new host takes over.
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => prop_oneof![4 => Just(0_i64), 1 => 0_i64..50].prop_map(Step::See),
        5 => any::<usize>().prop_map(Step::Settle),
        1 => any::<usize>().prop_map(Step::Drop),
        2 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Whatever happens, no commit passes a record that is undecided, and what a restart takes as settled was settled.
    #[test]
    fn no_commit_passes_an_undecided_record(steps in steps()) {
        // The log: which offsets are records, and which of them were ever settled.
        let mut log: BTreeMap<i64, bool> = BTreeMap::new();
        let mut end = 0;
        let mut committed = (0, String::new());
        let mut id = 1;
        let mut ledger = Ledger::default();
        ledger.assign(stay(id), Some(0), "");
        let mut read_to = 0;
        let mut tickets: Vec<Ticket> = Vec::new();
        for step in steps {
            match step {
                Step::See(gap) => {
                    let offset = log.range(read_to..).next().map(|(&offset, _)| offset).unwrap_or(end + gap);
                    log.entry(offset).or_insert(false);
                    end = end.max(offset + 1);
                    read_to = offset + 1;
                    match ledger.open(at(id, offset), None) {
                        Opened::Undecided(ticket) => tickets.push(ticket),
                        Opened::Settled => prop_assert!(log[&offset], "{offset} was never settled"),
                        Opened::Fenced => prop_assert!(false, "the stay lasts"),
                    }
                }
                Step::Settle(which) if !tickets.is_empty() => {
                    let ticket = tickets.swap_remove(which % tickets.len());
                    log.insert(ticket.position().offset, true);
                    ledger.settle(ticket);
                }
                Step::Drop(which) if !tickets.is_empty() => drop(tickets.swap_remove(which % tickets.len())),
                Step::Commit => for mark in ledger.marks() {
                    prop_assert!(mark.next.0 >= committed.0, "the watermark went back");
                    prop_assert!(mark.metadata.len() <= 4096);
                    committed = (mark.next.0, mark.metadata);
                },
                Step::Crash => {
                    tickets.clear();
                    id += 1;
                    ledger = Ledger::default();
                    ledger.assign(stay(id), Some(committed.0), &committed.1);
                    read_to = committed.0;
                }
                Step::Settle(_) | Step::Drop(_) => {}
            }
            prop_assert!(log.range(..committed.0).all(|(_, &settled)| settled), "the commit {} passes an undecided record", committed.0);
        }
    }
}

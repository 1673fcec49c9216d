//! The source on a real Kafka: order, rebalances, commits, back-pressure, records read again, and clear words when a start fails.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use e2e::{Broker, Message, until};
use keyway::config;
use keyway::consume::{Assigned, Event, Kafka, KafkaOffsets, Source as _};
use keyway::observe::Metrics;
use keyway::policy::SecretText;
use keyway::record::{Assignment, Record};
use keyway::settle::{Mark, NextOffset, Offsets as _};
use tokio::time::timeout;

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn settings(broker: &Broker, topic: &str, group: &str, properties: &[(&str, &str)]) -> config::Kafka {
    config::Kafka {
        brokers: broker.address.clone(),
        topics: vec![topic.to_owned()],
        group: group.to_owned(),
        dead_letters: format!("{group}.dead-letters"),
        properties: properties.iter().map(|(name, value)| ((*name).to_owned(), SecretText::known(*value))).collect(),
        framing: config::Framing::None,
        route_by: config::RouteBy::Key,
        commit_every: Duration::from_secs(1),
    }
}

async fn start(broker: &Broker, topic: &str, group: &str, properties: &[(&str, &str)]) -> (Kafka, KafkaOffsets) {
    Kafka::start(&settings(broker, topic, group, properties), Some("10.0.0.1:8484"), Metrics::new()).await.expect("the source to start")
}

async fn next(source: &mut Kafka) -> Event {
    timeout(PATIENCE, source.next(true)).await.expect("an event in time")
}

async fn assigned(source: &mut Kafka) -> Vec<Assigned> {
    match next(source).await {
        Event::Assigned(assigned) => assigned,
        other => panic!("expected an assignment, got {other:?}"),
    }
}

/// Reads until so many records came, holding every promise about order on the way.
async fn records(source: &mut Kafka, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut last = HashMap::new();
    while records.len() < count {
        match next(source).await {
            Event::Records(batch) => {
                for record in batch {
                    let before = last.insert(record.assignment.id, record.offset);
                    assert!(before.is_none_or(|before| before < record.offset), "{record} after {before:?}");
                    records.push(record);
                }
            }
            Event::Assigned(assigned) if assigned.is_empty() => {}
            other => panic!("expected records, got {other:?}"),
        }
    }
    records
}

fn mark(assignment: &Arc<Assignment>, next: i64, metadata: &str) -> Mark {
    Mark { assignment: Arc::clone(assignment), next: NextOffset(next), metadata: metadata.to_owned(), exact: true }
}

fn numbered(count: usize) -> impl Iterator<Item = Message> {
    (0..count).map(|n| Message::new(format!("key-{}", n % 97), format!("{{\"n\":{n}}}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_goes_on_where_the_group_stopped_and_leaves_when_it_ends() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("resume", 2), broker.name("resume"));
    broker.produce(&topic, numbered(200));
    let (mut source, offsets) = start(broker, &topic, &group, &[]).await;
    let stays = assigned(&mut source).await;
    assert_eq!(
        stays.iter().map(|stay| (stay.assignment.partition, stay.committed, stay.metadata.as_str())).collect::<Vec<_>>(),
        [(0, None, ""), (1, None, "")]
    );
    let first = records(&mut source, 200).await;
    assert_eq!(first.len(), 200);
    let client_id = format!("keyway-{}@10.0.0.1:8484", source.host());
    assert_eq!(broker.members(&group), [client_id]);

    offsets.commit(vec![mark(&stays[0].assignment, 3, "beyond")]).expect("a commit on its way");
    until("the commit to arrive", PATIENCE, || broker.committed(&group, &topic)[0].as_ref().is_some_and(|at| at.offset == 3).then_some(()));
    let end = first.iter().filter(|record| record.partition() == 1).count() as i64;
    timeout(PATIENCE, source.close(vec![mark(&stays[1].assignment, end, "")])).await.expect("an end in time").expect("an orderly end");
    assert_eq!(broker.members(&group), Vec::<String>::new(), "a static member leaves when it ends in order");
    assert!(
        offsets
            .commit(vec![mark(&stays[0].assignment, 0, "")])
            .is_ok_and(|()| broker.committed(&group, &topic)[0].as_ref().is_some_and(|at| at.offset == 3))
    );

    let (mut source, _) = start(broker, &topic, &group, &[]).await;
    let again = assigned(&mut source).await;
    assert_eq!(again.iter().map(|stay| (stay.committed, stay.metadata.as_str())).collect::<Vec<_>>(), [(Some(3), "beyond"), (Some(end), "")]);
    assert!(again.iter().all(|stay| stay.assignment.id > stays[1].assignment.id));
    let rest = records(&mut source, 200 - end as usize - 3).await;
    assert!(rest.iter().all(|record| record.partition() == 0 && record.offset >= 3));
    source.close(Vec::new()).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_back_is_read_anew() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("cut", 1), broker.name("cut"));
    broker.produce(&topic, numbered(50));
    let (mut source, offsets) = start(broker, &topic, &group, &[]).await;
    let stay = assigned(&mut source).await.remove(0).assignment;
    // What a group is left with when its topic is made anew, or a broker without the last records becomes the leader.
    offsets.commit(vec![mark(&stay, 1_000, "")]).expect("a commit on its way");
    until("the commit to arrive", PATIENCE, || broker.committed(&group, &topic)[0].as_ref().is_some_and(|at| at.offset == 1_000).then_some(()));
    source.close(Vec::new()).await.expect("an orderly end");

    let (mut source, _) = start(broker, &topic, &group, &[]).await;
    let old = assigned(&mut source).await.remove(0);
    assert_eq!(old.committed, Some(1_000));
    match next(&mut source).await {
        Event::Revoked(revoked) => {
            assert_eq!((revoked.assignments, revoked.lost), (vec![old.assignment.id], false));
            revoked.release.send(Vec::new()).expect("the source to wait");
        }
        other => panic!("expected the end of the stay, got {other:?}"),
    }
    let new = assigned(&mut source).await.remove(0);
    assert_eq!((new.assignment.partition, new.committed, new.metadata.as_str()), (0, None, ""));
    let read = records(&mut source, 50).await;
    assert!(read.iter().map(|record| (record.assignment.id, record.offset)).eq((0..50).map(|offset| (new.assignment.id, offset))));
    source.close(Vec::new()).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_whole() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("whole", 1), broker.name("whole"));
    #[expect(unsafe_code, reason = "a header name that is not UTF-8 cannot be written through a safe interface, and others do write it")]
    let bad_name = unsafe { String::from_utf8_unchecked(vec![b'x', 0xff]) };
    let written = [
        Message {
            timestamp: Some(1_700_000_000_123),
            headers: vec![("h".into(), b"1".to_vec()), ("h".into(), vec![0xff, 0])],
            ..Message::new("k", "{}")
        },
        Message { payload: None, ..Message::new("k", "") },
        Message { key: None, ..Message::new("", "") },
        Message::new(vec![0xff, 0xfe], vec![0x80; 1_000_000]),
        Message { headers: vec![(bad_name, b"lost".to_vec()), ("good".into(), b"kept".to_vec())], ..Message::new("k", "after") },
    ];
    broker.produce(&topic, written);
    let (mut source, _) = start(broker, &topic, &group, &[]).await;
    assigned(&mut source).await;
    let read = records(&mut source, 5).await;
    assert_eq!(read[0].timestamp, Some(1_700_000_000_123));
    assert_eq!(read[0].headers, [("h".to_owned(), b"1".to_vec().into()), ("h".to_owned(), vec![0xff, 0].into())]);
    assert_eq!((read[1].key.as_deref(), read[1].payload.as_deref()), (Some(&b"k"[..]), None));
    assert_eq!((read[2].key.as_deref(), read[2].payload.as_deref()), (None, Some(&b""[..])));
    assert_eq!((read[3].key_text(), read[3].payload.as_ref().map(|payload| payload.len())), (None, Some(1_000_000)));
    assert_eq!(read[4].payload.as_deref(), Some(&b"after"[..]));
    assert_eq!(read[4].headers[1], ("good".to_owned(), b"kept".to_vec().into()));
    source.close(Vec::new()).await.expect("an orderly end");
}

/// Two hosts in one group, by each protocol: what the first has settled is where the second goes on, and a late commit moves nothing.
async fn hand_over(name: &str, properties: &[(&str, &str)], drain: Duration) {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic(name, 4), broker.name(name));
    broker.produce(&topic, numbered(400));
    let ends = broker.ends(&topic);
    let (mut first, first_offsets) = start(broker, &topic, &group, properties).await;
    let mut mine: BTreeMap<i32, Arc<Assignment>> =
        assigned(&mut first).await.into_iter().map(|stay| (stay.assignment.partition, stay.assignment)).collect();
    assert_eq!(mine.len(), 4);
    records(&mut first, 400).await;

    let (mut second, _) = start(broker, &topic, &group, properties).await;
    let mut theirs: BTreeMap<i32, Assigned> = BTreeMap::new();
    let mut ended: Vec<Arc<Assignment>> = Vec::new();
    timeout(PATIENCE, async {
        while mine.len() + theirs.len() < 4 || theirs.is_empty() || mine.is_empty() {
            tokio::select! {
                event = first.next(true) => match event {
                    Event::Revoked(revoked) => {
                        assert!(!revoked.lost);
                        let (gone, kept): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut mine).into_iter().partition(|(_, stay)| revoked.assignments.contains(&stay.id));
                        mine = kept;
                        let marks = gone.values().map(|stay| mark(stay, ends[stay.partition as usize] - 1, "m")).collect();
                        ended.extend(gone.into_values());
                        tokio::time::sleep(drain).await;
                        revoked.release.send(marks).expect("the source to wait");
                    }
                    Event::Assigned(more) => mine.extend(more.into_iter().map(|stay| (stay.assignment.partition, stay.assignment))),
                    Event::Records(_) => {}
                    other => panic!("unexpected {other:?}"),
                },
                event = second.next(true) => match event {
                    Event::Assigned(more) => theirs.extend(more.into_iter().map(|stay| (stay.assignment.partition, stay))),
                    Event::Records(_) => {}
                    Event::Revoked(revoked) => {
                        theirs.retain(|_, stay| !revoked.assignments.contains(&stay.assignment.id));
                        revoked.release.send(Vec::new()).expect("the source to wait");
                    }
                    other => panic!("unexpected {other:?}"),
                },
            }
        }
    })
    .await
    .expect("both hosts to have their share in time");
    for (partition, stay) in &theirs {
        assert_eq!((stay.committed, stay.metadata.as_str()), (Some(ends[*partition as usize] - 1), "m"), "partition {partition}");
    }
    assert_ne!(first.host(), second.host());

    // The fence: what the first host says now of a stay that has ended goes nowhere, what it says of another one does.
    let late = ended.iter().find(|stay| theirs.contains_key(&stay.partition)).expect("a partition that moved");
    let kept = mine.values().next().expect("a partition that stayed");
    first_offsets.commit(vec![mark(late, 1, "late"), mark(kept, 2, "kept")]).expect("a commit on its way");
    until("the commit of the partition that stayed", PATIENCE, || {
        broker.committed(&group, &topic)[kept.partition as usize].as_ref().is_some_and(|at| at.metadata == "kept").then_some(())
    });
    assert_eq!(broker.committed(&group, &topic)[late.partition as usize].as_ref().map(|at| at.metadata.as_str()), Some("m"));
    first.close(Vec::new()).await.expect("an orderly end");
    second.close(Vec::new()).await.expect("an orderly end");
    assert_eq!(broker.members(&group), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_handed_over_cooperatively() {
    hand_over("cooperative", &[], Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_handed_over_eagerly() {
    hand_over("eager", &[("partition.assignment.strategy", "range"), ("group.instance.id", "")], Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_handed_over_by_the_new_protocol() {
    hand_over("kip-848", &[("group.protocol", "consumer")], Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_takes_as_long_as_it_may_is_still_committed() {
    let short = [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "1000")];
    let drain = settings(Broker::shared(), "any", "any", &short).drain_within();
    assert_eq!(drain, Duration::from_secs(2));
    hand_over("short-session", &short, drain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_settled_is_committed_though_partitions_are_revoked_while_the_host_ends() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("closing", 4), broker.name("closing"));
    broker.produce(&topic, numbered(400));
    let ends = broker.ends(&topic);
    let (mut first, _) = start(broker, &topic, &group, &[]).await;
    let stays = assigned(&mut first).await;
    records(&mut first, 400).await;
    let (second, _) = start(broker, &topic, &group, &[]).await;
    // The loop has ended by now, and does not answer.
    let unanswered = loop {
        match next(&mut first).await {
            Event::Revoked(revoked) => break revoked,
            Event::Assigned(_) | Event::Records(_) => {}
            other => panic!("expected a revocation, got {other:?}"),
        }
    };
    assert!(!unanswered.lost && (1..4).contains(&unanswered.assignments.len()), "{unanswered:?}");
    let marks = stays.iter().map(|stay| mark(&stay.assignment, ends[stay.assignment.partition as usize], "")).collect();
    timeout(PATIENCE, first.close(marks)).await.expect("an end in time").expect("an orderly end");
    let committed: Vec<Option<i64>> = broker.committed(&group, &topic).iter().map(|at| at.as_ref().map(|at| at.offset)).collect();
    assert_eq!(committed, ends.iter().map(|end| Some(*end)).collect::<Vec<_>>());
    second.close(Vec::new()).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_without_room_loses_nothing_and_keeps_its_place() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("pressure", 3), broker.name("pressure"));
    broker.produce(&topic, numbered(30_000));
    // A poll interval that a reader who waits for the loop would exceed at once.
    let tight = [("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "1000")];
    let (mut source, offsets) = start(broker, &topic, &group, &tight).await;
    let stays = assigned(&mut source).await;
    let mut read = records(&mut source, 1).await.len();
    // Intake stands still for longer than the poll interval; that is the point, so time has to pass.
    assert!(timeout(Duration::from_secs(9), source.next(false)).await.is_err(), "nothing but records waits");
    offsets.commit(vec![mark(&stays[0].assignment, 1, "")]).expect("a commit on its way");
    until("the commit of a member that is still one", PATIENCE, || broker.committed(&group, &topic)[0].as_ref().map(drop));
    let mut next_offset: HashMap<i32, i64> = HashMap::new();
    let mut total = BTreeMap::new();
    read += {
        let rest = records(&mut source, 30_000 - read).await;
        for record in &rest {
            let expected = next_offset.entry(record.partition()).or_insert(record.offset);
            assert_eq!(record.offset, *expected, "no gap and no repeat in {record}");
            *expected += 1;
            *total.entry(record.partition()).or_insert(0) += 1;
        }
        rest.len()
    };
    assert_eq!(read, 30_000);
    source.close(Vec::new()).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn single_records_are_read_again_and_lost_ones_are_named() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("again", 2), broker.name("again"));
    let in_partition =
        |partition, count: i64| (0..count).map(move |n| Message { partition: Some(partition), ..Message::new("k", format!("{partition}-{n}")) });
    broker.produce(&topic, in_partition(0, 5_000).chain(in_partition(1, 10)));
    // Whatever the operator wants of partitions that are new to the group.
    for (word, deleted) in [("earliest", 7), ("latest", 8), ("error", 9)] {
        let (mut source, _) = start(broker, &topic, &group, &[("auto.offset.reset", word)]).await;
        let stays = assigned(&mut source).await;
        if word == "earliest" {
            records(&mut source, 5_010).await;
        }
        broker.delete_before(&topic, 0, deleted);
        let stay = |partition: i32| Arc::clone(&stays.iter().find(|stay| stay.assignment.partition == partition).expect("a stay").assignment);
        source.refetch(vec![(stay(0), vec![2, 6, 9, 700, 4_999]), (stay(1), vec![0, 9])]);
        let (mut found, mut lost) = (Vec::new(), Vec::new());
        while found.len() + lost.len() < 7 {
            match timeout(PATIENCE, source.next(false)).await.expect("records in time") {
                Event::Refetched { records, gone } => {
                    found.extend(records.iter().map(|record| (record.partition(), record.offset, record.payload.clone().expect("a payload"))));
                    lost.extend(gone);
                }
                Event::Assigned(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        let offsets: Vec<(i32, i64)> = found.iter().map(|(partition, offset, _)| (*partition, *offset)).collect();
        assert_eq!(offsets, [(0, 9), (0, 700), (0, 4_999), (1, 0), (1, 9)], "{word}");
        assert!(found.iter().all(|(partition, offset, payload)| payload == format!("{partition}-{offset}").as_bytes()));
        assert_eq!(lost, [(stay(0).id, 2), (stay(0).id, 6)], "{word}");
        // What the next one goes on from.
        let marks = stays.iter().map(|stay| mark(&stay.assignment, [5_000, 10][stay.assignment.partition as usize], "")).collect();
        source.close(marks).await.expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_deletes_before_it_is_read_is_told_and_nothing_else_is_passed_over() {
    let broker = Broker::shared();
    let (topic, group) = (broker.topic("late", 1), broker.name("late"));
    let count = 30_000_i64;
    // Far more than is fetched ahead, so that retention overtakes the reader.
    broker.produce(&topic, (0..count).map(|n| Message::new("k", format!("{n:02000}"))));
    // Reads to its end what is there, and says what was told to be deleted.
    async fn read(source: &mut Kafka, last: i64) -> (Vec<i64>, Vec<(i64, i64)>) {
        let (mut offsets, mut deleted) = (Vec::new(), Vec::new());
        while offsets.last() != Some(&last) {
            match next(source).await {
                Event::Records(records) => offsets.extend(records.iter().map(|record| record.offset)),
                Event::Deleted { offsets, .. } => deleted.push((offsets.start, offsets.end)),
                Event::Assigned(_) => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        (offsets, deleted)
    }
    // A group that goes on from here wants everything, whatever new partitions begin with.
    let properties = [("auto.offset.reset", "latest")];
    let (mut source, _) = start(broker, &topic, &group, &[]).await;
    let stay = assigned(&mut source).await.remove(0);
    source.close(vec![mark(&stay.assignment, 10, "")]).await.expect("an orderly end");

    // Nobody takes what has been read, so intake stands still.
    let (mut source, _) = start(broker, &topic, &group, &properties).await;
    let stay = assigned(&mut source).await.remove(0);
    assert_eq!(stay.committed, Some(10));
    let mut offsets: Vec<i64> = records(&mut source, 1).await.iter().map(|record| record.offset).collect();
    broker.delete_before(&topic, 0, 29_000);
    let (rest, deleted) = read(&mut source, count - 1).await;
    offsets.extend(rest);
    let before = offsets.iter().take_while(|offset| **offset < 29_000).count() as i64;
    assert!(before > 0 && offsets.iter().copied().eq((10..10 + before).chain(29_000..count)), "{before} before the gap");
    assert_eq!(deleted, [(10 + before, 29_000)]);
    source.close(vec![mark(&stay.assignment, 29_010, "")]).await.expect("an orderly end");

    // While no host runs.
    broker.delete_before(&topic, 0, 29_500);
    let (mut source, _) = start(broker, &topic, &group, &properties).await;
    let (offsets, deleted) = read(&mut source, count - 1).await;
    assert!(offsets.iter().copied().eq(29_500..count));
    assert_eq!(deleted, [(29_010, 29_500)]);
    source.close(Vec::new()).await.expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_without_an_offset_begins_where_the_operator_wants_it() {
    let broker = Broker::shared();
    let topic = broker.topic("begin", 1);
    broker.produce(&topic, numbered(100));
    let (mut source, _) = start(broker, &topic, &broker.name("begin"), &[("auto.offset.reset", "latest")]).await;
    assert_eq!(assigned(&mut source).await[0].committed, None);
    // When it has found the end, it reads what is written then.
    let first = loop {
        broker.produce(&topic, numbered(1));
        match timeout(Duration::from_millis(200), source.next(true)).await {
            Ok(Event::Records(records)) => break records[0].offset,
            Ok(Event::Assigned(_)) | Err(_) => assert!(broker.ends(&topic)[0] < 250, "nothing comes"),
            Ok(other) => panic!("unexpected {other:?}"),
        }
    };
    assert!(first >= 100, "{first}");
    source.close(Vec::new()).await.expect("an orderly end");

    let (mut source, _) = start(broker, &topic, &broker.name("nowhere"), &[("auto.offset.reset", "error")]).await;
    assigned(&mut source).await;
    match next(&mut source).await {
        Event::Failed(why) => assert!(why.contains(&format!("{topic}/0")) && why.contains("`auto.offset.reset` is `error`"), "{why}"),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_little_metadata_says_so_and_gets_the_last_commit_without() {
    let broker = Broker::own(&[("offset.metadata.max.bytes", "100")]);
    let (topic, group) = (broker.topic("little", 2), broker.name("little"));
    broker.produce(&topic, numbered(20));
    let (mut source, offsets) = start(&broker, &topic, &group, &[]).await;
    let stays = assigned(&mut source).await;
    records(&mut source, 20).await;
    offsets.commit(vec![mark(&stays[0].assignment, 1, &"m".repeat(101)), mark(&stays[1].assignment, 2, "short")]).expect("a commit on its way");
    match next(&mut source).await {
        Event::CommitFailed { stays: failed, too_large } => {
            assert!(failed.contains(&stays[0].assignment.id));
            assert!(too_large);
        }
        other => panic!("unexpected {other:?}"),
    }
    source.close(vec![mark(&stays[0].assignment, 3, &"m".repeat(101))]).await.expect("an orderly end");
    let committed = broker.committed(&group, &topic);
    assert_eq!(committed[0].as_ref().map(|at| (at.offset, at.metadata.as_str())), Some((3, "")));
    assert_eq!(committed[1].as_ref().map(|at| (at.offset, at.metadata.as_str())), Some((2, "short")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_work_says_why() {
    let broker = Broker::shared();
    let topic = broker.topic("words", 1);
    let fail = async |settings: config::Kafka| Kafka::start(&settings, None, Metrics::new()).await.map(|_| ()).expect_err("no start");

    let missing = fail(settings(broker, "no-such-topic", "words", &[])).await;
    assert!(missing.cause.contains("`no-such-topic`") && missing.cause.contains("no such topic"), "{missing}");
    let create = format!(
        "correct `topics` in `[kafka]`, or create it: `kafka-topics.sh --bootstrap-server {} --create --topic no-such-topic`",
        broker.address
    );
    assert_eq!(missing.hint, Some(create));

    let unknown = fail(settings(broker, &topic, "words", &[("sasl.pasword", "hunter2")])).await.cause;
    assert!(unknown.contains("use `kafka.properties.\"sasl.pasword\"`: librdkafka") && !unknown.contains("hunter2"), "{unknown}");

    let wrong = fail(settings(broker, &topic, "words", &[("session.timeout.ms", "hunter2")])).await.cause;
    assert!(wrong.contains("session.timeout.ms") && !wrong.contains("hunter2"), "{wrong}");

    let mut unreachable = settings(broker, &topic, "words", &[]);
    unreachable.brokers = "127.0.0.1:1".into();
    let unreachable = fail(unreachable).await;
    assert!(unreachable.cause.contains("`127.0.0.1:1`") && unreachable.cause.contains("refused"), "{unreachable}");
    assert!(unreachable.hint.is_some_and(|hint| hint.contains("`brokers`")));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_no_broker_can_be_reached_and_when_one_can_again() {
    let cluster = rdkafka::mocking::MockCluster::new(1).expect("a mock cluster");
    cluster.create_topic("events", 1, 1).expect("a topic");
    let broker = Broker::at(cluster.bootstrap_servers());
    let (source, _) = start(&broker, "events", "reach", &[("reconnect.backoff.max.ms", "500")]).await;
    let reach = source.reach();
    assert_eq!(reach.trouble(), None);
    cluster.broker_down(1).expect("a broker that goes down");
    let trouble = until("the trouble to be told", PATIENCE, || reach.trouble());
    assert!(trouble.starts_with("no broker can be reached: "), "{trouble}");
    cluster.broker_up(1).expect("a broker that comes up");
    until("its end to be told", PATIENCE, || reach.trouble().is_none().then_some(()));
}

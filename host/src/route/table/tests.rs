use proptest::prelude::*;

use super::*;

fn pattern(text: &str) -> Pattern {
    text.parse().unwrap()
}

fn table(claims: &[(&str, &'static str)]) -> Table<&'static str> {
    let mut table = Table::default();
    for (text, entry) in claims {
        table.claim(&[pattern(text)], entry).unwrap();
    }
    table
}

fn found<'a>(table: &'a Table<&'static str>, key: Option<&str>) -> Option<(String, &'a str)> {
    table.find(key).map(|found| (found.pattern.to_string(), *found.entry))
}

#[test]
fn the_most_specific_pattern_wins() {
    let table = table(&[("*", "all"), ("order:*", "orders"), ("order:eu:*", "europe"), ("order:eu:1", "one")]);
    assert_eq!(found(&table, Some("order:eu:1")), Some(("order:eu:1".into(), "one")));
    assert_eq!(found(&table, Some("order:eu:2")), Some(("order:eu:*".into(), "europe")));
    assert_eq!(found(&table, Some("order:us:2")), Some(("order:*".into(), "orders")));
    assert_eq!(found(&table, Some("order:")), Some(("order:*".into(), "orders")));
    assert_eq!(found(&table, Some("order")), Some(("*".into(), "all")));
    assert_eq!(found(&table, Some("")), Some(("*".into(), "all")));
    assert_eq!(table.len(), 4);
}

#[test]
fn a_record_without_a_readable_key_matches_nothing_but_the_star() {
    assert_eq!(found(&table(&[("a*", "a"), ("b", "b")]), None), None);
    assert_eq!(found(&table(&[("a*", "a"), ("*", "all")]), None), Some(("*".into(), "all")));
}

#[test]
fn a_prefix_that_would_cut_a_character_does_not_match() {
    // `é` is two bytes; the one-byte prefix `a` must not be compared with half of it.
    let table = table(&[("a*", "a"), ("é*", "e")]);
    assert_eq!(found(&table, Some("éa")), Some(("é*".into(), "e")));
    assert_eq!(found(&table, Some("aé")), Some(("a*".into(), "a")));
    assert_eq!(found(&table, Some("è")), None);
}

#[test]
fn who_came_first_keeps_the_pattern_and_the_other_gets_nothing() {
    let mut table = table(&[("order:*", "first")]);
    let refused = table.claim(&[pattern("refund:*"), pattern("order:*")], &"second").unwrap_err();
    assert_eq!(refused, Conflict { pattern: pattern("order:*"), holder: "first" });
    assert_eq!(found(&table, Some("refund:1")), None);
    assert_eq!(found(&table, Some("order:1")), Some(("order:*".into(), "first")));
    // The same word twice is no conflict with oneself.
    table.claim(&[pattern("x"), pattern("x")], &"third").unwrap();
}

/// What the table must do, in the plainest words: try every pattern.
fn naive<'a>(claims: &'a [(Pattern, usize)], key: Option<&str>) -> Option<&'a (Pattern, usize)> {
    let rank = |pattern: &Pattern| match pattern {
        Pattern::Exact(_) => usize::MAX,
        Pattern::Prefix(text) => text.len(),
        Pattern::Any => 0,
    };
    let matching = claims.iter().filter(|(pattern, _)| key.map_or(*pattern == Pattern::Any, |key| pattern.matches(key)));
    matching.max_by_key(|(pattern, _)| rank(pattern))
}

proptest! {
    #[test]
    fn agrees_with_trying_every_pattern(
        texts in proptest::collection::vec("[aéb]{0,4}\\*?", 0..40),
        keys in proptest::collection::vec(proptest::option::of("[aéb]{0,5}"), 1..40),
    ) {
        let mut table = Table::default();
        let mut claims = Vec::new();
        for (entry, text) in texts.iter().enumerate() {
            let Ok(pattern) = text.parse::<Pattern>() else { continue };
            let taken = claims.iter().find(|(other, _)| *other == pattern).map(|(_, entry)| *entry);
            match table.claim(std::slice::from_ref(&pattern), &entry) {
                Ok(()) => prop_assert_eq!(taken, None),
                Err(conflict) => prop_assert_eq!(Some(conflict.holder), taken),
            }
            if taken.is_none() {
                claims.push((pattern, entry));
            }
        }
        prop_assert_eq!(table.len(), claims.len());
        prop_assert_eq!(table.is_empty(), claims.is_empty());
        for key in &keys {
            let expected = naive(&claims, key.as_deref());
            let found = table.find(key.as_deref());
            prop_assert_eq!(found.map(|found| (found.pattern.clone(), *found.entry)), expected.cloned());
        }
    }
}

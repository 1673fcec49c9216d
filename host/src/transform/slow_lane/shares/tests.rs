use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const PLACES: Places = Places { plugin: 2, team: 6, all: 16 };

fn id(team: usize, plugin: usize) -> ShareId {
    ShareId { team, plugin }
}

/// Gives slices of these lengths to whose turn it is, all of them always ready, and says what each has had.
fn run(slices: usize, of: &[(ShareId, u64)]) -> HashMap<(usize, usize), u64> {
    let mut shares: Shares<usize, ()> = Shares::new(PLACES);
    let mut had = HashMap::new();
    of.iter().enumerate().for_each(|(index, (id, _))| shares.push(*id, index));
    for _ in 0..slices {
        let index = shares.pop().unwrap();
        let (id, slice) = of[index];
        shares.charge(id, slice);
        *had.entry((id.team, id.plugin)).or_default() += slice;
        shares.push(id, index);
    }
    had
}

#[test]
fn teams_share_alike_and_so_do_the_plugins_of_a_team() {
    // Three calls of a looping plugin beside one of another plugin in its team, and one of another team with shorter slices.
    let had = run(10_000, &[(id(0, 0), 1_000), (id(0, 0), 1_000), (id(0, 0), 1_000), (id(0, 1), 1_000), (id(1, 0), 300)]);
    let (noisy, beside, other) = (had[&(0, 0)], had[&(0, 1)], had[&(1, 0)]);
    assert!(noisy.abs_diff(beside) <= 2_000, "{noisy} and {beside} of one team");
    assert!((noisy + beside).abs_diff(other) <= 2_000, "{noisy} and {beside} against {other}");
}

#[test]
fn who_was_away_has_saved_nothing_up() {
    let mut shares: Shares<&str, ()> = Shares::new(PLACES);
    shares.push(id(0, 0), "busy");
    for _ in 0..1_000 {
        assert_eq!(shares.pop(), Some("busy"));
        shares.charge(id(0, 0), 1_000);
        shares.push(id(0, 0), "busy");
    }
    // Another team, and another plugin of the same one, that were never here: each is served at once, and then takes turns.
    shares.push(id(1, 0), "team");
    shares.push(id(0, 1), "plugin");
    let mut turns = HashMap::new();
    for _ in 0..400 {
        let who = shares.pop().unwrap();
        *turns.entry(who).or_insert(0) += 1;
        let id = match who {
            "busy" => id(0, 0),
            "plugin" => id(0, 1),
            _ => id(1, 0),
        };
        shares.charge(id, 1_000);
        shares.push(id, who);
    }
    assert!(turns["team"] <= 202 && turns["plugin"] <= 102 && turns["busy"] >= 98, "{turns:?}");
}

#[test]
fn a_plugin_that_floods_its_team_leaves_places_for_the_others() {
    let mut shares: Shares<(), usize> = Shares::new(PLACES);
    // Three plugins of one team flood the lane, one after the other.
    for plugin in 0..3 {
        (0..100).for_each(|_| shares.wait(id(0, plugin), plugin, false));
        while shares.begin().is_some() {}
    }
    shares.wait(id(0, 3), 3, false);
    assert_eq!(shares.begin(), Some((id(0, 3), 3)), "a fourth one begins at once");
    shares.wait(id(1, 0), 4, false);
    assert_eq!(shares.begin(), Some((id(1, 0), 4)), "and so does another team's");
}

#[test]
fn teams_that_flood_the_lane_leave_places_for_the_others() {
    let mut shares: Shares<(), usize> = Shares::new(PLACES);
    for team in 0..4 {
        for plugin in 0..10 {
            (0..100).for_each(|_| shares.wait(id(team, plugin), team, false));
        }
        while shares.begin().is_some() {}
    }
    shares.wait(id(4, 0), 4, false);
    assert_eq!(shares.begin().map(|(_, who)| who), Some(4));
}

#[test]
fn who_has_had_least_begins_first_and_an_instance_that_waits_before_its_plugin_s_others() {
    let mut shares: Shares<(), &str> = Shares::new(Places { plugin: 1, team: 2, all: 3 });
    shares.charge(id(0, 0), 5);
    shares.charge(id(1, 0), 3);
    shares.wait(id(0, 0), "had most", false);
    shares.wait(id(1, 0), "had less", false);
    shares.wait(id(1, 0), "has an instance", true);
    assert_eq!(shares.begin().map(|(_, who)| who), Some("has an instance"));
    assert_eq!(shares.begin().map(|(_, who)| who), Some("had most"), "the other plugin's one place is taken");
    assert_eq!(shares.begin(), None);
    shares.ended(id(1, 0));
    assert_eq!(shares.begin().map(|(_, who)| who), Some("had less"));
}

/// One call of a plugin, from its wait to its end, in slices of these lengths.
fn call(shares: &mut Shares<(), ()>, id: ShareId, slices: &[u64]) {
    shares.wait(id, (), false);
    assert_eq!(shares.begin(), Some((id, ())));
    for slice in slices {
        shares.push(id, ());
        shares.pop().unwrap();
        shares.charge(id, *slice);
    }
    shares.ended(id);
}

#[test]
fn who_is_gone_is_forgotten() {
    let mut shares = Shares::new(PLACES);
    for number in 0..1_000 {
        call(&mut shares, id(number % 7, number), &[5, 10]);
        let known: usize = shares.teams.values().map(|team| team.plugins.len()).sum();
        assert!(known <= 14, "{known} after {number}");
    }
    // A slice that is counted when the call is over already.
    shares.charge(id(9, 9), 1);
    call(&mut shares, id(0, 1_000), &[1_000_000]);
    call(&mut shares, id(0, 1_001), &[1_000_000]);
    call(&mut shares, id(1, 1_002), &[1]);
    assert!(!shares.teams.contains_key(&9));
}

/// The opposite would be a plugin of many short calls that begins each of them in front of one that has had no more than it.
#[test]
fn who_comes_back_soon_is_known_by_what_it_has_had() {
    let mut shares: Shares<&str, ()> = Shares::new(PLACES);
    shares.push(id(0, 0), "long");
    let mut turns = HashMap::new();
    for _ in 0..100 {
        shares.wait(id(0, 1), (), false);
        shares.begin().unwrap();
        shares.push(id(0, 1), "short");
        // Until it had its slice.
        loop {
            let who = shares.pop().unwrap();
            *turns.entry(who).or_insert(0) += 1;
            shares.charge(id(0, usize::from(who == "short")), 1_000);
            if who == "short" {
                break;
            }
            shares.push(id(0, 0), who);
        }
        shares.ended(id(0, 1));
    }
    assert!(turns["long"] >= 98, "{turns:?}");
}

proptest! {
    /// Whatever comes and goes: the places are never exceeded, and as long as somebody waits and nobody has begun, somebody may.
    #[test]
    fn places_are_kept(steps in prop::collection::vec((0_usize..3, 0_usize..4, prop::bool::ANY), 1..300), places in (1_usize..4, 1_usize..6, 1_usize..12)) {
        let places = Places { plugin: places.0, team: places.1, all: places.2 };
        let mut shares: Shares<(), ()> = Shares::new(places);
        let mut begun: Vec<ShareId> = Vec::new();
        let mut waiting = 0;
        for (team, plugin, ends) in steps {
            if ends && !begun.is_empty() {
                shares.ended(begun.swap_remove(team % begun.len()));
            } else {
                shares.wait(id(team, plugin), (), false);
                waiting += 1;
            }
            while let Some((id, ())) = shares.begin() {
                begun.push(id);
                waiting -= 1;
            }
            prop_assert!(begun.len() <= places.all);
            prop_assert!(waiting == 0 || !begun.is_empty());
            for team in 0..3 {
                let of_team = begun.iter().filter(|id| id.team == team);
                prop_assert!(of_team.clone().count() <= places.team);
                for plugin in 0..4 {
                    prop_assert!(of_team.clone().filter(|id| id.plugin == plugin).count() <= places.plugin);
                }
            }
        }
    }
}

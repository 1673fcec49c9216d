//! What a plugin claims and wishes for, held against what its team may have: pure.

use crate::plugin::{LimitsWish, PluginName, Refusal};
use crate::policy::{Grant, Limits, Pattern};

/// `NAME` without its team.
pub(super) fn own_name(name: &PluginName) -> &str {
    name.as_str().rsplit('/').next().unwrap_or(name.as_str())
}

/// The patterns that are claimed, if the team's grant covers them all.
pub(super) fn claims(keys: &[String], grant: &Grant) -> Result<Vec<Pattern>, Refusal> {
    let refused = |cause: String, hint: Option<String>| Refusal { cause, hint };
    let mut claims = Vec::with_capacity(keys.len());
    for key in keys {
        let claim: Pattern = key.parse().map_err(|why| refused(format!("`{key}` is not a key pattern: {why}"), None))?;
        if !grant.may_claim(&claim) {
            let team = &grant.team;
            let line: Vec<String> = grant.keys.iter().chain([key]).map(|key| format!("{key:?}")).collect();
            let hint =
                format!("add `keys = [{}]` to `[teams.{team}]` in `{}`, or claim other keys in the sidecar", line.join(", "), grant.file.display());
            return Err(refused(format!("it claims the key `{key}`, which the team `{team}` is not granted"), Some(hint)));
        }
        if !claims.contains(&claim) {
            claims.push(claim);
        }
    }
    Ok(claims)
}

/// The limits that a sidecar wishes for, if the team's allow them; what it does not name is the team's.
pub(super) fn limits(wish: &LimitsWish, grant: &Grant) -> Result<Limits, Refusal> {
    fn within<T: PartialOrd + Copy + std::fmt::Debug>(name: &str, wish: Option<T>, most: T, grant: &Grant) -> Result<T, Refusal> {
        let (team, file) = (&grant.team, grant.file.display());
        match wish {
            Some(wish) if wish > most => Err(Refusal {
                cause: format!("its limit `{name}` is {wish:?}, and the team `{team}` may have {most:?} at most"),
                hint: Some(format!("raise `limits.{name}` of `[teams.{team}]` in `{file}`, or lower it in the sidecar")),
            }),
            wish => Ok(wish.unwrap_or(most)),
        }
    }
    let most = &grant.limits;
    Ok(Limits {
        cpu: within("cpu", wish.cpu, most.cpu, grant)?,
        wall: within("wall", wish.wall, most.wall, grant)?,
        memory: within("memory", wish.memory, most.memory, grant)?,
        output: within("output", wish.output, most.output, grant)?,
        requests: within("requests", wish.requests, most.requests, grant)?,
        headers: within("headers", wish.headers, most.headers, grant)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn grant(keys: &[&str]) -> Grant {
        let keys = keys.iter().map(|&key| key.to_owned()).collect();
        Grant { keys, file: std::path::Path::new("/etc/bridge.toml").into(), ..Grant::everything("payments", Limits::default()) }
    }

    #[test]
    fn a_claim_beyond_the_grant_is_refused_with_the_line_to_add() {
        let refusal = claims(&["refund:*".into(), "order:1".into()], &grant(&["payment:*", "refund:*"])).unwrap_err();
        assert_eq!(refusal.cause, "it claims the key `order:1`, which the team `payments` is not granted");
        assert_eq!(
            refusal.hint.as_deref(),
            Some(
                r#"add `keys = ["payment:*", "refund:*", "order:1"]` to `[teams.payments]` in `/etc/bridge.toml`, or claim other keys in the sidecar"#
            )
        );
        assert_eq!(claims(&["payment:eu:*".into(), "payment:eu:*".into()], &grant(&["payment:*"])).unwrap().len(), 1);
        assert!(claims(&["a*b".into()], &grant(&["*"])).unwrap_err().cause.starts_with("`a*b` is not a key pattern"));
    }

    #[test]
    fn limits_are_the_teams_unless_the_sidecar_wants_less() {
        let grant = grant(&["*"]);
        let wish = LimitsWish { requests: Some(3), ..LimitsWish::default() };
        assert_eq!(limits(&wish, &grant).unwrap(), Limits { requests: 3, ..grant.limits });
        let refusal = limits(&LimitsWish { cpu: Some(Duration::from_secs(9)), ..LimitsWish::default() }, &grant).unwrap_err();
        assert_eq!(refusal.cause, "its limit `cpu` is 9s, and the team `payments` may have 100ms at most");
    }

    #[test]
    fn a_plugin_is_named_without_its_team() {
        assert_eq!(own_name(&PluginName::new("payments", "refund")), "refund");
        assert_eq!(own_name(&PluginName::new("default", "order")), "order");
    }
}

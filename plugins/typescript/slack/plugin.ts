// Tells a Slack channel of an alert, by an incoming webhook. The webhook's address is a secret, so it is the base URL of the destination `slack`, and
// the path is empty. The least severity that is told is the setting `from`: `info`, `warning` (without the setting) or `critical`.
import { plugin, post, reject, settings, skip } from "keyway";

interface Alert { service: string; severity: string; text: string; runbook?: string }

const SEVERITIES = ["info", "warning", "critical"];
const MARKS = ["ℹ️", "⚠️", "🔥"];

// Slack's own way to write what would otherwise be a link or a mention.
const plain = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

export default plugin<Alert>({
  name: "slack",
  version: "1.0.0",
  keys: "alert:*",
  transform(alert) {
    const { service, severity, text, runbook } = alert ?? {};
    if (typeof service !== "string" || typeof text !== "string") return reject("an alert has a `service` and a `text`");
    const rank = SEVERITIES.indexOf(severity);
    if (rank < 0) return reject(`\`${severity}\` is none of ${SEVERITIES.join(", ")}`);
    const from = settings.get("from") ?? "warning";
    if (rank < SEVERITIES.indexOf(from)) return skip(`below \`${from}\``);
    const lines = [`${MARKS[rank]} *${plain(service)}*: ${plain(text)}`];
    if (runbook?.startsWith("https://")) lines.push(`<${encodeURI(runbook)}|What to do>`);
    return post("slack", "").json({ text: lines.join("\n") });
  },
  tombstone: () => skip("an alert that is over"),
});

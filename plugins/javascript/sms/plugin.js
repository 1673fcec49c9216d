// Texts a customer how far a delivery is, in the customer's language. States that nobody wants to be woken for are skipped.
import { plugin, post, reject, skip } from "keyway";

const TEXTS = {
  en: { "out-for-delivery": (id) => `Your parcel ${id} comes today.`, delivered: (id) => `Your parcel ${id} is there.` },
  de: { "out-for-delivery": (id) => `Ihr Paket ${id} kommt heute.`, delivered: (id) => `Ihr Paket ${id} ist da.` },
};

export default plugin({
  name: "sms",
  version: "1.0.0",
  keys: "delivery:*",
  transform(delivery) {
    const { id, state, phone, language } = delivery ?? {};
    if (typeof id !== "string" || typeof state !== "string") return reject("a delivery has an `id` and a `state`");
    const text = (TEXTS[language] ?? TEXTS.en)[state];
    if (!text) return skip(`nothing is texted of \`${state}\``);
    if (!/^\+\d{7,15}$/.test(phone ?? "")) return skip("no number to text to");
    return post("sms", "/messages").json({ to: phone, text: text(id) });
  },
});

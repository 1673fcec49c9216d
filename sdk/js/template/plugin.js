import { plugin, put } from "keyway";

export default plugin({
  keys: "NAME:*",
  transform(order) {
    return put("orders", `/orders/${order.id}`).json(order);
  },
});

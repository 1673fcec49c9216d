import { plugin, put } from "keyway";

interface Order { id: number; total: number }

export default plugin<Order>({
  keys: "NAME:*",
  transform(order) {
    return put("orders", `/orders/${order.id}`).json(order);
  },
});

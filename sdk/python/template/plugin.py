from keyway import plugin, put


@plugin(keys="order:*")
def transform(order, m):
    return put("orders", f"/orders/{order['id']}").json(order)

from keyway import plugin, put


@plugin(keys="NAME:*")
def transform(order, m):
    return put("orders", f"/orders/{order['id']}").json(order)

// Without the SDK: what `jco componentize` takes, against the contract as it is.
export const transform = {
  transform(m) {
    let order;
    try {
      order = JSON.parse(m.payload ?? "null");
    } catch (error) {
      return { tag: "reject", val: `payload: ${error.message}` };
    }
    // What no plugin can do, tried. With `--disable http` there is no `fetch` at all.
    if (order?.do === "connect") fetch(`http://127.0.0.1:${order.port}/`);
    return {
      tag: "send",
      val: [{ destination: "sink", method: "POST", path: "/echo", headers: [["content-type", "application/json"]], body: { tag: "text", val: JSON.stringify(order) }, attributes: [] }],
    };
  },
};

// Builds a plugin: bundles it with the SDK, looks at what it exports, and makes a component of it. Called by `keyway build`, as
//   node build.mjs TOOLS ENTRY SDK WIT OUT
// where TOOLS is the folder that holds `node_modules`.
import { readFileSync, writeFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [tools, entry, sdk, wit, out] = process.argv.slice(2);
const require = createRequire(path.join(tools, "package.json"));
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { rolldown } = await load("rolldown");
const { default: qjs } = await load("componentize-qjs");

const WRAPPER = "\0keyway-entry";
// The host's functions do not answer while the plugin is being built, in Node or in the engine.
const absent = 'const absent = () => { throw new Error("log and settings answer only while a record is handled") };';
const stub = `${absent} export const log = absent, get = absent, all = absent;`;

async function bundle(wrapper, onContract) {
  const plugin = {
    name: "keyway",
    resolveId: (id) => {
      if (id === WRAPPER) return id;
      if (id === "keyway") return sdk;
      if (id.startsWith("keyway:")) return onContract(id);
    },
    load: (id) => (id === WRAPPER ? wrapper : id === "\0keyway-stub" ? stub : undefined),
  };
  const warnings = [];
  const made = await rolldown({ input: WRAPPER, plugins: [plugin], platform: "neutral", onLog: (level, log) => level === "warn" && warnings.push(log.message) });
  const { output } = await made.generate({ format: "esm", sourcemap: true, codeSplitting: false });
  for (const warning of warnings) console.error(`warning: ${warning}`);
  return output.find((file) => file.type === "chunk");
}

/**
 * Where the parts of each line of the bundle come from, `COLUMN:FILE:LINE` with a blank between them, from its source map (ECMA-426: base64 VLQ, five fields,
 * each a difference). The bundler joins lines, so that one may come from several.
 */
function places({ sources, mappings }) {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  let [file, line] = [0, 0];
  const lines = mappings.split(";").map((segments) => {
    let [column, before] = [0, ""];
    const parts = [];
    for (const segment of segments.split(",").filter(Boolean)) {
      const fields = [];
      let [value, shift] = [0, 0];
      for (const digit of segment) {
        const bits = digits.indexOf(digit);
        value += (bits & 31) << shift;
        shift += 5;
        if (!(bits & 32)) {
          fields.push(value & 1 ? -(value >> 1) : value >> 1);
          [value, shift] = [0, 0];
        }
      }
      column += fields[0];
      if (fields.length < 4) continue;
      file += fields[1];
      line += fields[2];
      const place = `${file}:${line + 1}`;
      if (place !== before) parts.push(`${column}:${place}`);
      before = place;
    }
    return parts.join(" ");
  });
  return { files: sources.map((source) => path.relative(process.cwd(), path.resolve("dist", source))), lines: lines.join(",") };
}

function fail(message) {
  console.error(message);
  process.exit(1);
}

const user = JSON.stringify(path.resolve(entry));
// First in Node, for plain errors and to see what the plugin can do.
let found;
const probe = `${out}.probe.mjs`;
try {
  // As a whole, so that a missing default is told below, in plainer words than the bundler's.
  writeFileSync(probe, (await bundle(`import * as found from ${user};\nexport default found["default"];`, () => "\0keyway-stub")).code);
  found = (await import(pathToFileURL(probe))).default;
} catch (error) {
  fail(error.errors?.length ? error.message : `the plugin fails as it is loaded: ${error.stack ?? error}`);
} finally {
  rmSync(probe, { force: true });
}
if (typeof found?.transform?.transform !== "function") fail(`${entry} has to export the plugin: \`export default plugin({ … })\``);

const exported = ["transform", "about", ...(found.replies ? ["replies"] : [])];
const wrapper = `import found from ${user};\n${exported.map((name) => `export const ${name} = found.${name};`).join("\n")}\n`;
const { code, map } = await bundle(wrapper, (id) => ({ id, external: true }));
const source = `${code.replace(/\n\/\/# sourceMappingURL=.*\s*$/, "")}\nglobalThis.__keyway_places = ${JSON.stringify(places(map))};\n`;
const { component } = await qjs.componentize({
  witPath: wit,
  world: found.replies ? "replying-plugin" : "described-plugin",
  jsSource: source,
  stubWasi: true,
  sync: true,
});
writeFileSync(out, component);

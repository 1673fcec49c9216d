declare module 'keyway:transform/about@0.1.0' {
  /**
   * Describes the plugin.
   */
  export function describe(): Description;
  /**
   * A plugin's own description.
   */
  export interface Description {
    /**
     * Name for people, for example `order`.
     */
    name: string,
    /**
     * Version for people, for example `1.4.0`.
     */
    version: string,
    /**
     * Patterns of the keys that the plugin handles: exact (`order.created`), prefix (`order:*`) or `*`. A sidecar file may say otherwise.
     */
    keys: Array<string>,
    /**
     * A JSON Schema for the plugin's `[settings]`; none when it takes none or does not say.
     */
    settingsSchema?: string,
  }
}

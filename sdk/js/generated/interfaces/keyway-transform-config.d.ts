declare module 'keyway:transform/config@0.1.0' {
  /**
   * The value under this name: a string as it is, any other value as JSON; none when there is none.
   */
  export function get(name: string): string | undefined;
  /**
   * All settings, sorted by name.
   */
  export function all(): Array<[string, string]>;
}

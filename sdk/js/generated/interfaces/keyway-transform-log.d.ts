declare module 'keyway:transform/log@0.1.0' {
  /**
   * Writes one line. Never fails and never blocks: the host cuts long lines, drops what exceeds the plugin's rate, and counts both.
   */
  export function log(level: Level, message: string): void;
  /**
   * How much a line matters.
   * # Variants
   * 
   * ## `"trace"`
   * 
   * ## `"debug"`
   * 
   * ## `"info"`
   * 
   * ## `"warn"`
   * 
   * ## `"error"`
   */
  export type Level = 'trace' | 'debug' | 'info' | 'warn' | 'error';
}

/// <reference path="./keyway-transform-types.d.ts" />
declare module 'keyway:transform/transform@0.1.0' {
  /**
   * Turns a record into requests. A trap, or passing a limit of time, memory or output, makes the record a dead letter.
   */
  export function transform(m: Message): Verdict;
  export type Message = import('keyway:transform/types@0.1.0').Message;
  export type Verdict = import('keyway:transform/types@0.1.0').Verdict;
}

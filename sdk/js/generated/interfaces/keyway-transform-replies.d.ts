/// <reference path="./keyway-transform-types.d.ts" />
declare module 'keyway:transform/replies@0.1.0' {
  /**
   * Called when the requests of a round have been answered, whatever their status. It is handed all exchanges of the record so far,
   * so the plugin needs no memory of its own.
   */
  export function onReplies(m: Message, exchanges: Array<Exchange>): Next;
  export type Message = import('keyway:transform/types@0.1.0').Message;
  export type Exchange = import('keyway:transform/types@0.1.0').Exchange;
  export type Next = import('keyway:transform/types@0.1.0').Next;
}

declare module 'keyway:transform/types@0.1.0' {
  /**
   * One Kafka record, as the plugin sees it.
   */
  export interface Message {
    /**
     * Name of the topic, 1 to 249 characters of `a-z A-Z 0-9 . _ -`.
     */
    topic: string,
    /**
     * Number of the partition, from 0.
     */
    partition: number,
    /**
     * Offset of the record in its partition, from 0. Offsets grow but may have gaps.
     */
    offset: bigint,
    /**
     * Milliseconds since 1970-01-01T00:00:00Z, by the producer's or the broker's clock; none when the record carries no timestamp.
     */
    timestamp?: bigint,
    /**
     * The record's key; none when it has none or when it is not UTF-8.
     */
    key?: string,
    /**
     * The record's headers in their order. A name may occur more than once; a value may be any bytes.
     */
    headers: Array<[string, Uint8Array]>,
    /**
     * The record's value, which is UTF-8 and by convention JSON; none for a tombstone (a record without a value).
     * A value that is not UTF-8 never reaches a plugin.
     */
    payload?: string,
    /**
     * Facts that later versions of the host may add. A plugin ignores names that it does not know.
     */
    attributes: Array<[string, string]>,
  }
  /**
   * What a request carries.
   */
  export type Body = BodyText | BodyBytes;
  /**
   * Sent as UTF-8.
   */
  export interface BodyText {
    tag: 'text',
    val: string,
  }
  /**
   * Sent as it is.
   */
  export interface BodyBytes {
    tag: 'bytes',
    val: Uint8Array,
  }
  /**
   * One HTTP request for the host to perform.
   */
  export interface Request {
    /**
     * Name of a destination of the operator's configuration, which this plugin's team has been granted.
     */
    destination: string,
    /**
     * The method in upper case: `GET`, `POST`, `PUT`, `PATCH`, `DELETE`, or another token of RFC 9110.
     */
    method: string,
    /**
     * Path and query, joined to the destination's base URL; begins with `/`. It may not leave the base URL.
     */
    path: string,
    /**
     * Header names and values. `Host`, `Content-Length`, hop-by-hop headers and names that begin with `keyway-` are refused.
     */
    headers: Array<[string, string]>,
    /**
     * The body; none for a request without one.
     */
    body?: Body,
    /**
     * Wishes that later versions of the host may understand. The host ignores names that it does not know.
     */
    attributes: Array<[string, string]>,
  }
  /**
   * What a plugin says of a record.
   */
  export type Verdict = VerdictSend | VerdictSkip | VerdictReject;
  /**
   * Perform these requests, in this order, each after the one before it has succeeded. An empty list delivers nothing and
   * settles the record.
   */
  export interface VerdictSend {
    tag: 'send',
    val: Array<Request>,
  }
  /**
   * The record needs nothing; the text says why, for metrics and logs.
   */
  export interface VerdictSkip {
    tag: 'skip',
    val: string,
  }
  /**
   * The record is bad and will stay bad; it becomes a dead letter, with this text as its detail.
   */
  export interface VerdictReject {
    tag: 'reject',
    val: string,
  }
  /**
   * A request that was performed, with what came back.
   */
  export interface Exchange {
    /**
     * The request as the plugin gave it.
     */
    request: Request,
    /**
     * Status of the last reply, 100 to 599.
     */
    status: number,
    /**
     * Headers of the reply.
     */
    headers: Array<[string, string]>,
    /**
     * Body of the reply, cut off at the host's cap (64 KiB unless configured): `text` when it is UTF-8, else `bytes`.
     */
    body: Body,
  }
  /**
   * What to do after the replies have been seen.
   */
  export type Next = NextDone | NextSend | NextRetry | NextReject;
  /**
   * The record is delivered.
   */
  export interface NextDone {
    tag: 'done',
  }
  /**
   * Perform these further requests; `on-replies` is called again with all exchanges so far. The host caps the rounds.
   */
  export interface NextSend {
    tag: 'send',
    val: Array<Request>,
  }
  /**
   * Perform the last round of requests again, after this many milliseconds, or by the destination's own backoff when none.
   */
  export interface NextRetry {
    tag: 'retry',
    val: bigint | undefined,
  }
  /**
   * Give the record up; it becomes a dead letter, with this text as its detail.
   */
  export interface NextReject {
    tag: 'reject',
    val: string,
  }
}

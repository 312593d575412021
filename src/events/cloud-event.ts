/** A CloudEvent with JSON data. @see CloudEvents 1.0.2 §3 */
export interface CloudEvent {
  readonly id: string;
  /** URI reference. */
  readonly source: string;
  readonly type: string;
  /** ms since the epoch. */
  readonly time: number;
  readonly subject?: string;
  /** Any JSON value; undefined: an event without data. */
  readonly data?: unknown;
}

/** `Content-Type` of an event in structured mode. @see CloudEvents JSON Event Format §3 */
export const cloudEventType = "application/cloudevents+json";

/** True for what may be an event's type: words of letters, digits, - and _ between dots, at most 128 characters. */
export function isEventType(type: string): boolean {
  return type.length <= 128 && /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/.test(type);
}

/** The event in structured mode, the payload of its message. @see CloudEvents NATS Protocol Binding §3 */
export function encodeCloudEvent({ id, source, type, time, subject, data }: CloudEvent): Uint8Array {
  const event = {
    specversion: "1.0",
    id,
    source,
    type,
    time: new Date(time).toISOString(),
    ...(subject === undefined ? {} : { subject }),
    ...(data === undefined ? {} : { datacontenttype: "application/json", data }),
  };
  return new TextEncoder().encode(JSON.stringify(event));
}

import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { type FeedUnit, feedUnit, isClosing } from "./feed-unit.ts";

/** A transaction takes so many records at most. */
const maxBatchRecords = 2_000;
/** Numbers are reserved so many at a time. */
const reserveNumbers = 40_000;

/** What waits to be durable, in the order of its numbers. */
export interface FeedQueue {
  /** Size of what waits, as JSON, bytes. */
  readonly bytes: number;
  readonly empty: boolean;
  /** True where a number may be given out before its record is durable. */
  readonly mayNote: boolean;
  /** Takes all of them or, where one cannot be written as JSON, none. */
  add(events: readonly AuditEvent[]): FeedUnit;
  last(): FeedUnit | undefined;
  /** What is written next. Units that were given up are not among it, and their numbers are accounted for. */
  batch(): readonly FeedUnit[];
  /** These are durable, or never will be. */
  remove(units: ReadonlySet<FeedUnit>): void;
  /** Numbers that no record will ever have. */
  gap(afterNumber: number, atMost: number): void;
  /** Reserves the next numbers, ahead of need. */
  reserve(): void;
  /** Numbers up to here are reserved. */
  reserved(upto: number): void;
  /** The last word of a log that ends with nothing in doubt. */
  end(): void;
}

export function createFeedQueue(deps: {
  readonly firstNumber: number;
  readonly now: () => number;
  readonly line: (record: AuditRecord) => string;
  readonly idOf: (number: number) => string;
}): FeedQueue {
  let units: FeedUnit[] = [];
  let bytes = 0;
  let next = deps.firstNumber;
  let reservedUpto = 0;
  let reservingUpto = 0;

  const add = (events: readonly AuditEvent[]): FeedUnit => {
    const time = new Date(deps.now()).toISOString();
    const records = events.map((event, at): AuditRecord => {
      const seq = next + at;
      return { ...event, v: 1, id: deps.idOf(seq), seq, time };
    });
    const unit = feedUnit(records, records.map(deps.line));
    next += records.length;
    bytes += unit.bytes;
    units.push(unit);
    return unit;
  };

  const remove = (gone: ReadonlySet<FeedUnit>) => {
    units = units.filter((unit) => !gone.has(unit));
    bytes = units.reduce((sum, unit) => sum + unit.bytes, 0);
  };

  const gap = (afterNumber: number, atMost: number) => {
    add([{ kind: "audit.gap", data: { after_seq: afterNumber, at_most: atMost } }]);
  };

  return {
    get bytes() {
      return bytes;
    },
    get empty() {
      return units.length === 0;
    },
    get mayNote() {
      return next <= reservedUpto;
    },
    add,
    last: () => units.at(-1),
    batch() {
      const given = new Set(units.filter((unit) => unit.abandoned && !isClosing(unit.records)));
      remove(given);
      for (const { records } of given) gap((records[0]?.seq ?? 1) - 1, records.length);
      let count = 0;
      const fits = units.findIndex((unit) => {
        count += unit.records.length;
        return count > maxBatchRecords;
      });
      // A copy: what is added meanwhile is not among what is written.
      return units.slice(0, fits < 0 ? units.length : Math.max(fits, 1));
    },
    remove,
    gap,
    reserve() {
      if (next + reserveNumbers / 2 <= reservingUpto) return;
      reservingUpto = next + reserveNumbers;
      add([{ kind: "audit.reserved", data: { upto: reservingUpto } }]);
    },
    reserved(upto) {
      reservedUpto = upto;
    },
    end() {
      add([{ kind: "audit.reserved", data: { upto: next } }]);
    },
  };
}

import type { WayleaveError } from "../../core/errors.ts";
import type { CommandIo } from "../command-io.ts";
import type { Broker, Caller } from "./broker.ts";
import type { SvidSource } from "./svid-source.ts";

/** The session's SPIFFE identities for whoever comes to want them. */
export interface JobSvids {
  source(): Promise<SvidSource>;
  /** The session is over: nothing is given any more, and whoever follows hears of it. */
  end(error: WayleaveError): void;
}

/** Loads what it takes when it is first asked: few commands want SVIDs, and all pay for what `exec` loads. */
export function jobSvids(io: Pick<CommandIo, "now" | "pause">, broker: Broker, caller: Caller): JobSvids {
  let over: WayleaveError | undefined;
  let loading: Promise<SvidSource> | undefined;

  async function load(): Promise<SvidSource> {
    const [{ svidSource }, { sessionSvids }] = await Promise.all([
      import("./svid-source.ts"),
      import("./svid-broker.ts"),
    ]);
    const source = svidSource(io, sessionSvids(broker, caller));
    if (over !== undefined) source.end(over);
    return source;
  }

  return {
    source() {
      loading ??= load();
      return loading;
    },
    end(error) {
      over = error;
      void loading?.then((source) => source.end(error));
    },
  };
}

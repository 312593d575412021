/** What an existing configuration includes at its top level. */
export const trustFile = "wayleave.conf";
/** What it includes within its `accounts`; of config mode. */
export const accountsFile = "wayleave-accounts.conf";
/** A whole configuration that includes both. */
export const wholeFile = "nats-server.conf";

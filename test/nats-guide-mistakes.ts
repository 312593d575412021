/** What a job's author gets wrong, and the row of docs/guides/nats-jobs.md that says what it looks like. */
interface NatsMistake {
  readonly mistake: string;
  /** First column of the table, of its first words. */
  readonly row: string;
  readonly script: readonly string[];
  /** Audience of the token; the right one otherwise. */
  readonly aud?: string;
  /** Milliseconds by which GitLab's clock is ahead. */
  readonly ahead?: number;
  /** The job is of a project that no role is for. */
  readonly other?: boolean;
  /** The job has no token. */
  readonly without?: boolean;
}

const publish = "nats pub build.status.$CI_PROJECT_ID.tests passed";
const enter = 'eval "$(wayleave nats env)"';
const byToken = `nats --token "$WAYLEAVE_ID_TOKEN" pub build.status.$CI_PROJECT_ID.tests passed`;

export const natsMistakes: readonly NatsMistake[] = [
  {
    mistake: "the job has no id token",
    row: "No identity token: WAYLEAVE_ID_TOKEN is not set",
    script: [enter],
    without: true,
  },
  {
    mistake: "the audience is another",
    row: "The token's audience is …; ask for …",
    script: [byToken],
    aud: "https://other",
  },
  {
    mistake: "no role is for the project",
    row: "No role of this job names a NATS target",
    script: [byToken],
    other: true,
  },
  { mistake: "only the user is set", row: "no credential was sent", script: [`NATS_USER=events ${publish}`] },
  {
    mistake: "a CI variable holds another password",
    row: "the password is neither one of wayleave nats env nor a CI job's token",
    script: [`NATS_USER=events NATS_PASSWORD=hunter2 ${publish}`],
  },
  {
    mistake: "the user is not the target",
    row: "the password is for target …, and the user is …",
    script: [enter, `NATS_USER=event ${publish}`],
  },
  {
    mistake: "a token is used twice",
    row: "This token was first used … and not here",
    script: [enter, "unset NATS_USER NATS_PASSWORD", byToken],
  },
  { mistake: "the token is old", row: "The token expired", script: [byToken], ahead: -7_200_000 },
  { mistake: "GitLab's clock is ahead", row: "The token is valid only from", script: [byToken], ahead: 600_000 },
  { mistake: "the session is over", row: "session ended: …", script: [enter, "wayleave end", publish] },
  {
    mistake: "the server is asked instead of the gateway",
    row: "Authorization Violation and nothing more",
    script: [`NATS_URL=nats://127.0.0.1:4223 ${byToken}`],
  },
  {
    mistake: "a stream is to be deleted",
    row: "the JetStream API gives more than it says",
    script: [enter, "nats pub '$JS.API.STREAM.DELETE.DEPLOYS' ''"],
  },
  {
    mistake: "everything is listened to",
    row: "a subject that begins with a wildcard reaches every inbox of the account",
    script: [enter, "nats sub '>'"],
  },
  {
    mistake: "a script goes on and on",
    row: "too many denied operations",
    script: [enter, "NODE_EXTRA_CA_CERTS=$SSL_CERT_FILE node again.mjs"],
  },
];

/** What is refused again and again. */
export const againScript = `import { connect } from "@nats-io/transport-node";
const { NATS_URL: servers, NATS_USER: user, NATS_PASSWORD: pass } = process.env;
const connection = await connect({ servers, user, pass, reconnect: false });
for (let count = 0; count < 300; count++) connection.publish("deploy.production");
throw await connection.closed();
`;

import type { Pipeline } from "../demo/gitlab/types.ts";
import { type EventsLab, eventually } from "./events-lab.ts";

const who = `
version: 1
targets:
  events: { nats: { account: CI } }
who:
  shop: { gitlab: { project: acme/shop } }
  person: { gitlab: { project: acme/deploy } }
`;
const roles = `
roles:
  tell:
    for: [shop]
    allow:
      events: ["pub build.status.\${job.project_id}.>", "pub image.pushed.\${job.project_id}"]
  plan:
    for: [person]
    allow: { events: ["pub deploy.plan.*"] }
`;
const caused = `
  deployed:
    for: [{ gitlab: { project: acme/deploy, caused_by: [deploy-image] } }]
    allow: { events: ["pub deploy.done.*", "pub image.pushed.\${job.project_id}"] }
`;
const deployImage = `
  deploy-image:
    for: [shop, { gitlab: { project: acme/deploy, caused_by: [deploy-image] } }]
    on: { target: events, stream: IMAGES, subject: "image.pushed.*" }
    start: { gitlab: { project: acme/deploy, ref: main } }
    variables: { TAG: /data/tag }
    limit: 100/min
    depth: 2
`;
const releaseNotes = `
  release-notes:
    for: [shop]
    on: { target: events, stream: IMAGES, subject: "image.pushed.*" }
    start: { gitlab: { project: acme/notify, ref: release } }
    variables: { NOTE: /data/note }
    limit: 100/min
`;
const others = `
events:
  on-status:
    for: [shop, person]
    on: { target: events, stream: STATUS, subject: "build.status.*.*.success" }
    start: { gitlab: { project: acme/notify, ref: main } }
    limit: 100/min
`;
/** Nothing starts a pipeline but a status. */
export const withoutImages = who + roles + others;
/** With an event that takes part in its own loop, and one whose branch is missing. */
export const whole = who + roles + caused + others + deployImage + releaseNotes;
/** Its second event only. */
export const withoutDeploy = who + roles + others + releaseNotes;

const tagOf = ({ variables }: Pipeline) => variables.find(({ key }) => key === "TAG")?.value;

/** Messages that start pipelines, told apart by the tag that each names. */
export type EventsFlow = ReturnType<typeof eventsFlow>;

export function eventsFlow(lab: EventsLab) {
  const image = () => `image.pushed.${lab.project["acme/shop"].id}`;
  const deployed = () => lab.triggered(lab.project["acme/deploy"]);
  const deployedOf = (tag: string) => deployed().filter((each) => tagOf(each) === tag);
  return {
    image,
    deployed,
    deployedOf,
    imageEvent: (tag: string, more: object = {}) => ({
      ...{ type: "image.pushed", subject: image(), data: { tag } },
      ...more,
    }),
    startedFor: (tag: string) => eventually(`the pipeline of ${tag}`, () => deployedOf(tag)[0]),
    causeOf: async (session: string) =>
      (await lab.records.until("session.opened", (each) => each.session === session)).data.identity.cause,
    shopJob: () => lab.startJob(lab.project["acme/shop"]),
  };
}

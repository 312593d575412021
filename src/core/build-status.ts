/** How a pipeline or a job stands, as a CI's webhook says it. */
export interface BuildStatus {
  readonly projectId: string;
  /** As the hook shows it. */
  readonly projectPath?: string;
  readonly pipelineId: string;
  /** The CI's own word. */
  readonly status: string;
  readonly ref?: string;
  /** Absent where it is the whole pipeline's. */
  readonly job?: { readonly id: string; readonly name: string };
}

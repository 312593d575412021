/** Who is meant, repeated on every record so that one record can be read alone. */
export interface RecordJob {
  readonly issuer: string;
  readonly project_id: string;
  readonly project: string;
  readonly pipeline_id: string;
  readonly job_id: string;
  readonly job_name?: string;
  readonly ref?: string;
}

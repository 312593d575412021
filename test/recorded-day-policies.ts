const head = `version: 1
who:
  all: { gitlab: { group: acme } }
  main: { gitlab: { group: acme, ref: main } }
`;

/** What decides that day, what is tried beside it, and a draft that asks for a fact nobody asked for then. */
export const policies = {
  active: `${head}
targets:
  billing: { http: { hosts: [billing.internal] } }
  ledger: { http: { hosts: [ledger.internal] }, mode: observe }
roles:
  read:
    for: [all]
    allow: { billing: [GET /v1/invoices/**, GET /v1/health, GET /v1/unused/:id], ledger: [GET /v1/**] }
  release: { for: [all], when: change.merged, allow: { billing: [POST /v1/releases] } }
  pay: { for: [main], limit: { rate: 2/min, per: project }, allow: { billing: [POST /v1/payments] } }
deny:
  - { for: { gitlab: { group: acme } }, operations: { billing: [POST /v1/releases] }, when: change.draft, because: drafts release nothing }
`,
  candidate: `${head}
targets:
  billing: { http: { hosts: [billing.internal] } }
  ledger: { http: { hosts: [ledger.internal] }, mode: observe }
roles:
  read: { for: [all], allow: { billing: [GET /v1/invoices/:id], ledger: [GET /v1/entries] } }
  release: { for: [all], when: change.approvals >= 1, allow: { billing: [POST /v1/releases] } }
  pay: { for: [main], limit: { rate: 1/min, per: project }, allow: { billing: [POST /v1/payments] } }
  delete: { for: [main], allow: { billing: [DELETE /v1/invoices/:id, DELETE /v1/never] } }
deny:
  - { for: { gitlab: { group: acme } }, operations: { billing: [POST /v1/releases] }, when: change.draft, because: drafts release nothing }
`,
  draft: `${head}
targets:
  billing: { http: { hosts: [billing.internal] } }
  ledger: { http: { hosts: [ledger.internal] } }
roles:
  read: { for: [all], allow: { billing: [GET /v1/invoices/**], ledger: [GET /v1/entries, GET /v1/none] } }
  release: { for: [all], when: environment.protected, allow: { billing: [POST /v1/releases] } }
  merged: { for: [main], when: change.merged, allow: { billing: [POST /v1/releases] } }
  pay: { for: [main], allow: { billing: [POST /v1/payments] } }
  delete: { for: [main], allow: { billing: [DELETE /v1/invoices/:id] } }
deny:
  - { for: { gitlab: { group: acme, ref: feature } }, operations: { billing: [DELETE /v1/invoices/7] }, because: not that one }
`,
} as const;

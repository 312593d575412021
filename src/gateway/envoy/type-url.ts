/** How an `Any` names a message type of Envoy's: `filters.http.rbac.v3.RBAC` of its extensions. */
export const extension = (name: string): string => `type.googleapis.com/envoy.extensions.${name}`;

/** And one of its core configuration: `core.v3.Address`. */
export const config = (name: string): string => `type.googleapis.com/envoy.config.${name}`;

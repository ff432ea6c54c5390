/** Where others reach the manager, as far as it is known before it listens; a host that stands for all is no address. */
export function publicUrlOf({
  publicUrl,
  public: wanted,
}: {
  readonly publicUrl?: string | undefined
  readonly public?: { readonly host: string; readonly port: number } | undefined
}): string | undefined {
  if (publicUrl !== undefined || wanted === undefined) return publicUrl
  const { host, port } = wanted
  if (port === 0 || host === '0.0.0.0' || host === '::') return undefined
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`
}

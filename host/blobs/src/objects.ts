/**
 * Objects under keys that their writer chooses, such as `tile/0/x001/234`: segments of letters, digits, dots, dashes and
 * underscores, parted by slashes. What a method acknowledged is durable. All throw BlobError.
 */
export interface ObjectStore {
  /** The whole object, `undefined` where there is none. */
  get(key: string): Promise<Uint8Array | undefined>
  /**
   * Makes objects that never change. One that is there must have the same bytes, else ERR_BLOB_CONFLICT. In no order; after
   * an error some may be there.
   */
  putNew(objects: ReadonlyMap<string, Uint8Array>): Promise<void>
  /** Makes or replaces an object, whole. */
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Removes every object below `folder`, which is given without a slash at its end. None there is not an error. */
  removeBelow(folder: string): Promise<void>
}

/** Throws RangeError for a key that could leave its folder: only our own code makes keys. */
export function checkKey(key: string): void {
  if (key.length > 200 || !/^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(key)) {
    throw new RangeError(`object key: ${key}`)
  }
}

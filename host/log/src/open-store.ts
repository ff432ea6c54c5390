import { type ObjectStore, openFolderObjects, openS3Objects, type S3Options } from '@cella/blobs'

/** The store of a log's tiles, as its settings name it. */
export async function openStore(tiles: { readonly folder: string } | { readonly s3: S3Options }): Promise<ObjectStore> {
  return 'folder' in tiles ? openFolderObjects(tiles) : openS3Objects(tiles.s3)
}

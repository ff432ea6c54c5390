export { type CborOptions, decodeCbor } from './decode.ts'
export { CborTag, type CborValue, encodeCbor } from './encode.ts'
export {
  type CborItem,
  type CborKey,
  type CborLength,
  cborArray,
  cborBoolean,
  cborBytes,
  cborInteger,
  cborMap,
  cborOnly,
  cborTagged,
  cborText,
  shownKey,
} from './item.ts'

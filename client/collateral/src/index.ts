export { CollateralError, type CollateralErrorCode } from './error.ts'
export { type CollateralServices, type FetchOptions, fetchCollateral, vendorServices } from './fetch.ts'
export { type CollateralFolder, type HeldCollateral, openCollateralFolder } from './folder.ts'
export { missingCollateral } from './missing.ts'

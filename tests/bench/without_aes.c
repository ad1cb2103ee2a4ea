/* Preloaded (LD_PRELOAD): libsodium finds no AES here, and so ChaCha20-Poly1305 is what is left. */
int crypto_aead_aes256gcm_is_available(void);

__attribute__((visibility("default"))) int crypto_aead_aes256gcm_is_available(void) {
    return 0;
}

package org.jivesoftware.smackx.admin;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import org.jivesoftware.smack.XMPPConnection;
import org.jxmpp.jid.EntityBareJid;

/** Stands before Smack's class of this name: accounts come and go by hexactl, not by XEP-0133. */
public final class ServiceAdministrationManager {
    public static ServiceAdministrationManager getInstanceFor(XMPPConnection connection) {
        return new ServiceAdministrationManager();
    }

    public void addUser(EntityBareJid jid, String password) {
        control("user", "add", jid.toString(), "--password", password);
    }

    public void deleteUser(EntityBareJid jid) {
        control("user", "remove", jid.toString());
    }

    private static void control(String... words) {
        var command = new ArrayList<>(List.of(System.getProperty("hexad.control").split("\n")));
        command.addAll(List.of(words));
        try {
            var status = new ProcessBuilder(command).inheritIO().start().waitFor();
            if (status != 0) throw new IllegalStateException(command + ": exit status " + status);
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }
}

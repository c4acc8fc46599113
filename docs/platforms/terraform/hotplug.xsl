<?xml version="1.0"?>
<!-- For the libvirt provider of Terraform up to 0.8: xml { xslt = file("hotplug.xsl") } in the libvirt_domain. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform">
  <xsl:template match="@*|node()"><xsl:copy><xsl:apply-templates select="@*|node()"/></xsl:copy></xsl:template>
  <xsl:template match="/domain/features"><xsl:copy><xsl:apply-templates select="@*|node()"/><hotplug enable="no"/></xsl:copy></xsl:template>
</xsl:stylesheet>
